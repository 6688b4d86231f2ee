// A stack of one- or two-dimensional convolutions that keep the grid, run for many candidates with weights of their own.
//
// Arrays are row-major: inputs (P, W, C, H, X), outputs (P, W, O, H, X), a candidate's parameters as a flat vector in the
// order weight (O, C, tall, wide), bias (O), layer by layer; in one dimension H and tall are 1. A state passes all layers
// before the next one starts, so that what lies between the layers stays in the cache. Each layer reads an array with a
// border of half a kernel around it, which is filled as the padding says; vectors run along x, and a tile of several
// output channels, rows and vectors is summed in registers. Every state is computed by one thread in a fixed order: no
// result depends on the threads.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

using Int = std::int64_t;

#if defined(__AVX512F__)
constexpr int BYTES = 64, REGISTERS = 32;
#elif defined(__AVX__)
constexpr int BYTES = 32, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int BYTES = 16, REGISTERS = 32;
#else
constexpr int BYTES = 16, REGISTERS = 16;
#endif

template <typename T>
struct Vector;
template <>
struct Vector<float> {
    typedef float Type __attribute__((vector_size(BYTES)));
};
template <>
struct Vector<double> {
    typedef double Type __attribute__((vector_size(BYTES)));
};
template <typename T>
using Lanes = typename Vector<T>::Type;
template <typename T>
constexpr Int LANES = BYTES / sizeof(T);

// Output channels and rows of a tile, two vectors wide: its sums and one row of inputs fill the registers.
constexpr int CHANNELS = REGISTERS == 32 ? 8 : 6;
constexpr int rows_of(int channels) {
    const int most = (REGISTERS - 2) / (2 * channels + 2);
    return most < 1 ? 1 : most > 4 ? 4 : most;
}

template <typename T>
inline Lanes<T> load(const T* from) {
    Lanes<T> value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <typename T>
inline void store(T* to, Lanes<T> value) {
    std::memcpy(to, &value, sizeof value);
}

enum Padding : int { ZEROS = 0, CIRCULAR = 1, REFLECT = 2, REPLICATE = 3 };

struct Grid {
    Int height, width, above, beside;  // the border: half a kernel
    Int stride, plane;                 // entries of a row and of a channel, borders and room for whole vectors included
    Padding padding;
};

enum Activation : int { NONE = 0, LEAKY = 1, SOFTSIGN = 2 };

// What a layer does with its sums: a leaky ReLU of slope 0 is ReLU, softsign is v / (1 + |v|).
template <typename T>
inline Lanes<T> activated(Lanes<T> v, Activation activation, T slope) {
    if (activation == NONE) return v;
    if (activation == SOFTSIGN) return v / (T(1) + (v < Lanes<T>{} ? -v : v));
    const Lanes<T> below = slope == T(0) ? Lanes<T>{} : v * slope;
    return v < Lanes<T>{} ? below : v;
}

template <typename T>
struct Layer {
    Int inputs, outputs, tall, wide;
    const T* weight;
    const T* bias;  // may be null
    Activation activation;
    T slope;
};

// Sums OB output channels from o, YB rows from y and XB vectors from x.
template <typename T, int OB, int YB, int XB>
inline void tile(const Layer<T>& layer, const Grid& grid, const T* from, T* to, Int to_stride, Int to_plane, Int o, Int y,
                 Int x, Int kept) {
    Lanes<T> sum[OB][YB][XB];
    for (int a = 0; a < OB; ++a)
        for (int b = 0; b < YB; ++b)
            for (int c = 0; c < XB; ++c) sum[a][b][c] = Lanes<T>{} + (layer.bias ? layer.bias[o + a] : T(0));
    const Int each = layer.inputs * layer.tall * layer.wide;
    const T* weight = layer.weight + o * each;
    for (Int i = 0; i < layer.inputs; ++i)
        for (Int ky = 0; ky < layer.tall; ++ky) {
            const T* row = from + i * grid.plane + (y + ky) * grid.stride + x;
            for (Int kx = 0; kx < layer.wide; ++kx, ++weight, ++row) {
                Lanes<T> value[YB][XB];
#pragma GCC unroll 8
                for (int b = 0; b < YB; ++b)
#pragma GCC unroll 8
                    for (int c = 0; c < XB; ++c) value[b][c] = load(row + b * grid.stride + c * LANES<T>);
#pragma GCC unroll 8
                for (int a = 0; a < OB; ++a) {
                    const T w = weight[a * each];
#pragma GCC unroll 8
                    for (int b = 0; b < YB; ++b)
#pragma GCC unroll 8
                        for (int c = 0; c < XB; ++c) sum[a][b][c] += value[b][c] * w;
                }
            }
        }
    for (int a = 0; a < OB; ++a)
        for (int b = 0; b < YB; ++b)
            for (int c = 0; c < XB; ++c) {
                const Lanes<T> v = activated(sum[a][b][c], layer.activation, layer.slope);
                T* place = to + (o + a) * to_plane + (y + b) * to_stride + x + c * LANES<T>;
                const Int left = kept - c * LANES<T>;
                if (left >= LANES<T>)
                    store(place, v);
                else if (left > 0)
                    std::memcpy(place, &v, left * sizeof(T));
            }
}

template <typename T, int OB, int YB>
void block(const Layer<T>& layer, const Grid& grid, const T* from, T* to, Int to_stride, Int to_plane, Int o, Int y) {
    Int x = 0;
    for (; x + LANES<T> < grid.width; x += 2 * LANES<T>)
        tile<T, OB, YB, 2>(layer, grid, from, to, to_stride, to_plane, o, y, x, grid.width - x);
    if (x < grid.width) tile<T, OB, YB, 1>(layer, grid, from, to, to_stride, to_plane, o, y, x, grid.width - x);
}

template <typename T, int OB, int YB>
void rows(const Layer<T>& layer, const Grid& grid, const T* from, T* to, Int to_stride, Int to_plane, Int o) {
    Int y = 0;
    for (; y + YB <= grid.height; y += YB) block<T, OB, YB>(layer, grid, from, to, to_stride, to_plane, o, y);
    for (; y < grid.height; ++y) block<T, OB, 1>(layer, grid, from, to, to_stride, to_plane, o, y);
}

template <typename T>
void convolve(const Layer<T>& layer, const Grid& grid, const T* from, T* to, Int to_stride, Int to_plane) {
    Int o = 0;
    for (; layer.outputs - o >= CHANNELS; o += CHANNELS)
        rows<T, CHANNELS, rows_of(CHANNELS)>(layer, grid, from, to, to_stride, to_plane, o);
    switch (layer.outputs - o) {
        case 7: rows<T, 7, rows_of(7)>(layer, grid, from, to, to_stride, to_plane, o); break;
        case 6: rows<T, 6, rows_of(6)>(layer, grid, from, to, to_stride, to_plane, o); break;
        case 5: rows<T, 5, rows_of(5)>(layer, grid, from, to, to_stride, to_plane, o); break;
        case 4: rows<T, 4, rows_of(4)>(layer, grid, from, to, to_stride, to_plane, o); break;
        case 3: rows<T, 3, rows_of(3)>(layer, grid, from, to, to_stride, to_plane, o); break;
        case 2: rows<T, 2, rows_of(2)>(layer, grid, from, to, to_stride, to_plane, o); break;
        case 1: rows<T, 1, rows_of(1)>(layer, grid, from, to, to_stride, to_plane, o); break;
        default: break;
    }
}

// The place within 0 .. size - 1 that a place beyond an end repeats.
inline Int repeated(Int place, Int size, Padding padding) {
    if (padding == CIRCULAR) return (place % size + size) % size;
    if (padding == REPLICATE) return std::min(std::max(place, Int(0)), size - 1);
    return place < 0 ? -place : 2 * (size - 1) - place;
}

template <typename T>
void fill_borders(T* array, Int channels, const Grid& grid) {
    T* const corner = array + grid.above * grid.stride + grid.beside;
    const bool zeros = grid.padding == ZEROS;
    for (Int x = 1; x <= grid.beside; ++x) {
        const Int beyond = grid.width - 1 + x;
        const Int left = zeros ? 0 : repeated(-x, grid.width, grid.padding);
        const Int right = zeros ? 0 : repeated(beyond, grid.width, grid.padding);
        for (Int channel = 0; channel < channels; ++channel) {
            T* row = corner + channel * grid.plane;
            for (Int y = 0; y < grid.height; ++y, row += grid.stride) {
                row[-x] = zeros ? T(0) : row[left];
                row[beyond] = zeros ? T(0) : row[right];
            }
        }
    }
    if (zeros) return;  // rows beyond the ends are 0 from the start
    const Int whole = (grid.width + 2 * grid.beside) * sizeof(T);
    for (Int y = 1; y <= grid.above; ++y) {
        const Int beyond = grid.height - 1 + y;
        const Int top = repeated(-y, grid.height, grid.padding), bottom = repeated(beyond, grid.height, grid.padding);
        for (Int channel = 0; channel < channels; ++channel) {
            T* first = corner + channel * grid.plane - grid.beside;
            std::memcpy(first - y * grid.stride, first + top * grid.stride, whole);
            std::memcpy(first + beyond * grid.stride, first + bottom * grid.stride, whole);
        }
    }
}

template <typename T>
struct Network {
    Int layers;
    const Int* channels;  // (layers + 1,)
    const int* biased;    // (layers,)
    Int tall, wide;
    Activation activation;  // between layers
    T slope;
    Grid grid;
    Int size, widest;

    void run(const T* parameters, const T* input, T* output, T* first, T* second) const {
        const Int inner = grid.above * grid.stride + grid.beside;
        for (Int channel = 0; channel < channels[0]; ++channel)
            for (Int y = 0; y < grid.height; ++y)
                std::memcpy(first + channel * grid.plane + inner + y * grid.stride,
                            input + (channel * grid.height + y) * grid.width, grid.width * sizeof(T));
        for (Int number = 0; number < layers; ++number) {
            fill_borders(first, channels[number], grid);
            const bool last = number + 1 == layers;
            Layer<T> layer{channels[number], channels[number + 1], tall, wide, parameters, nullptr,
                           last ? NONE : activation, slope};
            parameters += layer.inputs * layer.outputs * tall * wide;
            if (biased[number]) {
                layer.bias = parameters;
                parameters += layer.outputs;
            }
            if (last)
                convolve(layer, grid, first, output, grid.width, grid.height * grid.width);
            else
                convolve(layer, grid, first, second + inner, grid.stride, grid.plane);
            std::swap(first, second);
        }
    }
};

template <typename T>
void stack(Int layers, const Int* channels, const int* biased, Int tall, Int wide, int padding, int activation,
           double slope, Int height, Int width, Int candidates, Int each, const T* base, const T* points,
           const Int* index, const T* scale, const T* input, T* output, int threads) {
    Network<T> network{layers, channels, biased, tall, wide, Activation(activation), T(slope), {}, 0, 0};
    Grid& grid = network.grid;
    grid = {height, width, tall / 2, wide / 2, 0, 0, static_cast<Padding>(padding)};
    const Int room = (width + LANES<T> - 1) / LANES<T> * LANES<T>;
    grid.stride = room + 2 * grid.beside;
    grid.plane = (height + 2 * grid.above) * grid.stride;
    for (Int number = 0; number < layers; ++number) {
        network.size += channels[number + 1] * (channels[number] * tall * wide + (biased[number] ? 1 : 0));
        network.widest = std::max(network.widest, channels[number]);
    }
    const Int from = channels[0] * height * width, to = channels[layers] * height * width;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<T> scratch(2 * (network.widest * grid.plane + 2 * LANES<T>), T(0));
        T *first = scratch.data(), *second = first + scratch.size() / 2;
        std::vector<T> own;
        if (!points) own.assign(base, base + network.size);
#pragma omp for schedule(static)
        for (Int candidate = 0; candidate < candidates; ++candidate) {
            const T* parameters = points ? points + candidate * network.size : own.data();
            if (!points) own[index[candidate]] += scale[candidate];
            for (Int state = candidate * each; state < (candidate + 1) * each; ++state)
                network.run(parameters, input + state * from, output + state * to, first, second);
            if (!points) own[index[candidate]] = base[index[candidate]];
        }
    }
}

}  // namespace

extern "C" {

#define STACK(name, T)                                                                                              \
    void name(Int layers, const Int* channels, const int* biased, Int tall, Int wide, int padding, int activation,   \
              double slope, Int height, Int width, Int candidates, Int each, const T* base, const T* points,         \
              const Int* index, const T* scale, const T* input, T* output, int threads) {                            \
        stack<T>(layers, channels, biased, tall, wide, padding, activation, slope, height, width, candidates, each,  \
                 base, points, index, scale, input, output, threads);                                                \
    }

STACK(stack_float32, float)
STACK(stack_float64, double)
}
