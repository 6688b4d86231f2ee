// The element-wise passes of difference propagation (see kernels.py for the formulas), each in one sweep over memory.
//
// Arrays are row-major with channels innermost: change (P, M, C) of P candidates, base values (M, C) that all share.
// Lanes are sixteen floats in the compiler's vector extension, which it lowers to whatever the processor has.
// Rows are cut into segments that stay in the first-level cache while all candidates pass over them, and sums are
// taken segment by segment in a fixed order, so that no result depends on the number of threads.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

using Int = std::int64_t;

constexpr Int LANES = 16;
constexpr Int SEGMENT = 4096;  // entries of one candidate and one array

typedef float Lanes __attribute__((vector_size(64)));
typedef std::int32_t Bits __attribute__((vector_size(64)));
typedef std::uint32_t Words __attribute__((vector_size(64)));
typedef std::uint16_t Halves __attribute__((vector_size(32)));

struct BFloat16 {
    std::uint16_t bits;
};

inline Lanes load(const float* from) {
    Lanes value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline void store(float* to, Lanes value) { std::memcpy(to, &value, sizeof value); }

inline Lanes load(const BFloat16* from) {
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
#ifdef __AVX512F__  // one instruction, of which gcc makes two halves
    Words words = reinterpret_cast<Words>(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(halves)));
#else
    Words words = __builtin_convertvector(halves, Words);
#endif
    return reinterpret_cast<Lanes>(words << 16);
}

inline void store(BFloat16* to, Lanes value) {
#ifdef __AVX512BF16__
    __m256bh halves = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(value));
#else
    Words words = reinterpret_cast<Words>(value);
    Words rounded = (words + 0x7FFFu + ((words >> 16) & 1u)) >> 16;  // to nearest, ties to even
    Words quiet = (words >> 16) | 0x40u;                             // a NaN stays one
    Bits number = value == value;
    Words chosen = (rounded & reinterpret_cast<Words>(number)) | (quiet & ~reinterpret_cast<Words>(number));
    Halves halves = __builtin_convertvector(chosen, Halves);
#endif
    std::memcpy(to, &halves, sizeof halves);
}

// The same for a last group of fewer channels than lanes.
template <typename T>
inline Lanes load(const T* from, Int count) {
    if (count == LANES) return load(from);
    T padded[LANES] = {};
    std::memcpy(padded, from, count * sizeof(T));
    return load(padded);
}

template <typename T>
inline void store(T* to, Lanes value, Int count) {
    if (count == LANES) return store(to, value);
    T padded[LANES];
    store(padded, value);
    std::memcpy(to, padded, count * sizeof(T));
}

// As torch.maximum and torch.clamp do, a NaN passes through.
inline Lanes larger(Lanes value, Lanes other) {
#ifdef __AVX512F__  // of two operands that do not compare, the instruction takes the second
    return reinterpret_cast<Lanes>(_mm512_max_ps(reinterpret_cast<__m512>(other), reinterpret_cast<__m512>(value)));
#else
    return value < other ? other : value;
#endif
}

inline Lanes smaller(Lanes value, Lanes other) {
#ifdef __AVX512F__
    return reinterpret_cast<Lanes>(_mm512_min_ps(reinterpret_cast<__m512>(other), reinterpret_cast<__m512>(value)));
#else
    return value > other ? other : value;
#endif
}

enum Step { NORM, NORM_RELU, NORM_ADD_RELU, NORM_ADD_NARROW_RELU };

template <typename T>
struct Passage {
    const T* change;
    const T* normed;
    const float* coefficients;  // (3, P, C): A, B, O
    const T* before_relu;       // (M, C)
    const T* other;             // (P, M, C)
    const float* column;        // (P, M)
    const std::int64_t* index;  // (P,), the channel of column
    T* out;
    Int candidates, rows, channels;
};

// GROUPS * LANES channels from `first` on, of one candidate and the rows [begin, end).
template <Step STEP, int GROUPS, bool TAIL, typename T>
inline void pass(const Passage<T>& p, Int candidate, Int first, Int width, Int begin, Int end) {
    Lanes a[GROUPS], b[GROUPS], o[GROUPS], hot[GROUPS];
    const Lanes zero = {};
    for (int g = 0; g < GROUPS; ++g) {
        const float* at = p.coefficients + candidate * p.channels + first + g * LANES;
        Int count = TAIL ? width : LANES;
        a[g] = load(at, count);
        b[g] = load(at + p.candidates * p.channels, count);
        o[g] = load(at + 2 * p.candidates * p.channels, count);
        hot[g] = zero;
        if (STEP == NORM_ADD_NARROW_RELU) {
            Int lane = p.index[candidate] - first - g * LANES;
            if (0 <= lane && lane < LANES) hot[g][lane] = 1.0f;
        }
    }
    for (Int row = begin; row < end; ++row) {
        Int shared = row * p.channels + first;
        Int own = candidate * p.rows * p.channels + shared;
        for (int g = 0; g < GROUPS; ++g) {
            Int count = TAIL ? width : LANES, at = g * LANES;
            Lanes value = load(p.change + own + at, count) * a[g] + (load(p.normed + shared + at, count) * b[g] + o[g]);
            if (STEP == NORM_ADD_RELU) value += load(p.other + own + at, count);
            if (STEP == NORM_ADD_NARROW_RELU) value += p.column[candidate * p.rows + row] * hot[g];
            if (STEP != NORM) {
                Lanes base = load(p.before_relu + shared + at, count);
                value = larger(value, -base) + smaller(base, zero);
            }
            store(p.out + own + at, value, count);
        }
    }
}

template <Step STEP, typename T>
void pass_all(const Passage<T>& p, int threads) {
    Int rows = std::max<Int>(1, SEGMENT / p.channels), segments = (p.rows + rows - 1) / rows;
#pragma omp parallel for collapse(2) num_threads(threads) if (threads > 1)
    for (Int segment = 0; segment < segments; ++segment) {
        for (Int candidate = 0; candidate < p.candidates; ++candidate) {
            Int begin = segment * rows, end = std::min(p.rows, begin + rows), first = 0;
            for (; first + 4 * LANES <= p.channels; first += 4 * LANES)
                pass<STEP, 4, false>(p, candidate, first, LANES, begin, end);
            for (; first + 2 * LANES <= p.channels; first += 2 * LANES)
                pass<STEP, 2, false>(p, candidate, first, LANES, begin, end);
            for (; first + LANES <= p.channels; first += LANES)
                pass<STEP, 1, false>(p, candidate, first, LANES, begin, end);
            if (first < p.channels) pass<STEP, 1, true>(p, candidate, first, p.channels - first, begin, end);
        }
    }
}

// Adds up change, change * normed and change^2 over rows: three runs of `channels` floats; the mean alone needs one.
template <int GROUPS, bool TAIL, bool MOMENTS, typename T>
inline void add_up(const T* change, const T* normed, float* sums, Int channels, Int first, Int width, Int rows) {
    constexpr int TURNS = GROUPS == 1 ? 4 : 1;  // a single group's chain of additions would wait on itself
    Lanes plain[GROUPS * TURNS] = {}, crossed[GROUPS * TURNS] = {}, squared[GROUPS * TURNS] = {};
    auto add = [&](Int row, int turn) __attribute__((always_inline)) {
        for (int g = 0; g < GROUPS; ++g) {
            Int at = row * channels + first + g * LANES, count = TAIL ? width : LANES;
            int slot = turn * GROUPS + g;
            Lanes value = load(change + at, count);
            plain[slot] += value;
            if (MOMENTS) {
                crossed[slot] += value * load(normed + at, count);
                squared[slot] += value * value;
            }
        }
    };
    Int row = 0;
    for (; row + TURNS <= rows; row += TURNS)
        for (int turn = 0; turn < TURNS; ++turn) add(row + turn, turn);
    for (; row < rows; ++row) add(row, 0);
    for (int g = 0; g < GROUPS; ++g) {
        for (int turn = 1; turn < TURNS; ++turn) {
            plain[g] += plain[turn * GROUPS + g];
            crossed[g] += crossed[turn * GROUPS + g];
            squared[g] += squared[turn * GROUPS + g];
        }
        Int at = first + g * LANES, count = TAIL ? width : LANES;
        store(sums + at, plain[g], count);
        if (MOMENTS) {
            store(sums + channels + at, crossed[g], count);
            store(sums + 2 * channels + at, squared[g], count);
        }
    }
}

// Returns (P, KINDS, C) sums over rows in double precision.
template <bool MOMENTS, typename T>
std::vector<double> sums_of(const T* change, const T* normed, Int candidates, Int all_rows, Int channels, int threads) {
    constexpr Int KINDS = MOMENTS ? 3 : 1;
    Int rows = std::max<Int>(1, SEGMENT / channels), segments = (all_rows + rows - 1) / rows;
    std::vector<float> parts(candidates * segments * KINDS * channels);
#pragma omp parallel for collapse(2) num_threads(threads) if (threads > 1)
    for (Int segment = 0; segment < segments; ++segment) {
        for (Int candidate = 0; candidate < candidates; ++candidate) {
            Int begin = segment * rows, count = std::min(all_rows, begin + rows) - begin;
            const T* here = change + (candidate * all_rows + begin) * channels;
            const T* beside = MOMENTS ? normed + begin * channels : nullptr;
            float* sums = parts.data() + (candidate * segments + segment) * KINDS * channels;
            Int first = 0;
            for (; first + 4 * LANES <= channels; first += 4 * LANES)
                add_up<4, false, MOMENTS>(here, beside, sums, channels, first, LANES, count);
            for (; first + 2 * LANES <= channels; first += 2 * LANES)
                add_up<2, false, MOMENTS>(here, beside, sums, channels, first, LANES, count);
            for (; first + LANES <= channels; first += LANES)
                add_up<1, false, MOMENTS>(here, beside, sums, channels, first, LANES, count);
            if (first < channels)
                add_up<1, true, MOMENTS>(here, beside, sums, channels, first, channels - first, count);
        }
    }
    std::vector<double> totals(candidates * KINDS * channels);
    for (Int candidate = 0; candidate < candidates; ++candidate)
        for (Int segment = 0; segment < segments; ++segment)
            for (Int at = 0; at < KINDS * channels; ++at)
                totals[candidate * KINDS * channels + at] += parts[(candidate * segments + segment) * KINDS * channels + at];
    return totals;
}

template <typename T>
void coefficients_of(const T* change, const T* normed, const float* gain, const float* variance, Int stride, float* out,
                     Int candidates, Int rows, Int channels, int threads) {
    std::vector<double> totals = sums_of<true>(change, normed, candidates, rows, channels, threads);
    for (Int candidate = 0; candidate < candidates; ++candidate) {
        for (Int channel = 0; channel < channels; ++channel) {
            const double* sums = totals.data() + candidate * 3 * channels + channel;
            double mean = sums[0] / rows, covariance = sums[channels] / rows, square = sums[2 * channels] / rows;
            double before = variance[candidate * stride + channel], factor = gain[candidate * stride + channel];
            double sigma = std::sqrt(before), growth = 2 * sigma * covariance + square - mean * mean;
            double sigma_new = std::sqrt(before + growth), a = factor / sigma_new;
            float* to = out + candidate * channels + channel;
            to[0] = static_cast<float>(a);
            to[candidates * channels] = static_cast<float>(-factor * growth / (sigma_new * (sigma_new + sigma)));
            to[2 * candidates * channels] = static_cast<float>(-a * mean);
        }
    }
}

template <typename T>
void mean_of(const T* change, T* out, Int candidates, Int rows, Int channels, int threads) {
    std::vector<double> totals = sums_of<false>(change, static_cast<const T*>(nullptr), candidates, rows, channels, threads);
    for (Int candidate = 0; candidate < candidates; ++candidate) {
        for (Int channel = 0; channel < channels; channel += LANES) {
            Int count = std::min(LANES, channels - channel);
            Lanes value = {};
            for (Int lane = 0; lane < count; ++lane)
                value[lane] = static_cast<float>(totals[candidate * channels + channel + lane] / rows);
            store(out + candidate * channels + channel, value, count);
        }
    }
}

struct Window {
    Int height, width;          // of the input, with its padding
    Int out_height, out_width;
    Int down, right;            // stride
    Int tall, wide;             // kernel
};

// One image of one channel, padded, into LANES output channels from `first` on, at every position.
// TAPS is the size of the kernel where it is known: its weights then stay in registers.
template <int TAPS, bool TAIL, typename T>
inline void spread(const float* image, const float* weights, T* out, const Window& w, Int channels, Int first, Int width) {
    constexpr int HELD = TAPS ? TAPS : 1;
    Int taps = TAPS ? TAPS : w.tall * w.wide, count = TAIL ? width : LANES;
    Lanes held[HELD];
    Int offset[HELD];
    for (Int tap = 0; tap < (TAPS ? taps : 0); ++tap) {
        held[tap] = load(weights + tap * channels + first, count);
        offset[tap] = tap / w.wide * w.width + tap % w.wide;
    }
    for (Int y = 0; y < w.out_height; ++y) {
        for (Int x = 0; x < w.out_width; ++x) {
            const float* from = image + y * w.down * w.width + x * w.right;
            Lanes value = {};
            if (TAPS) {
                for (int tap = 0; tap < HELD; ++tap) value += from[offset[tap]] * held[tap];
            } else {
                for (Int tap = 0; tap < taps; ++tap)
                    value += from[tap / w.wide * w.width + tap % w.wide] * load(weights + tap * channels + first, count);
            }
            store(out + (y * w.out_width + x) * channels + first, value, count);
        }
    }
}

// images (P, B, height, width) float32; table (inputs, taps, C); index (P,), the input channel; out (P, B, ..., C).
template <typename T>
void spread_all(const float* images, const float* table, const std::int64_t* index, T* out, const Window& w,
                Int candidates, Int batch, Int channels, int threads) {
    Int taps = w.tall * w.wide, positions = w.out_height * w.out_width;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (Int at = 0; at < candidates * batch; ++at) {
        const float* image = images + at * w.height * w.width;
        const float* weights = table + index[at / batch] * taps * channels;
        T* to = out + at * positions * channels;
        Int first = 0;
        for (; first + LANES <= channels; first += LANES) {
            if (taps == 9)
                spread<9, false>(image, weights, to, w, channels, first, LANES);
            else
                spread<0, false>(image, weights, to, w, channels, first, LANES);
        }
        if (first < channels) spread<0, true>(image, weights, to, w, channels, first, channels - first);
    }
}

template <typename T>
void pass_step(int step, const Passage<T>& passage, int threads) {
    switch (step) {
        case NORM: return pass_all<NORM>(passage, threads);
        case NORM_RELU: return pass_all<NORM_RELU>(passage, threads);
        case NORM_ADD_RELU: return pass_all<NORM_ADD_RELU>(passage, threads);
        default: return pass_all<NORM_ADD_NARROW_RELU>(passage, threads);
    }
}

}  // namespace

#define EXPORTED(T, NAME)                                                                                               \
    extern "C" void zo_coefficients_##NAME(const T* change, const T* normed, const float* gain, const float* variance,  \
                                           Int stride, float* out, Int candidates, Int rows, Int channels,          \
                                           int threads) {                                                               \
        coefficients_of(change, normed, gain, variance, stride, out, candidates, rows, channels, threads);              \
    }                                                                                                                   \
    extern "C" void zo_pass_##NAME(int step, const T* change, const T* normed, const float* coefficients,               \
                                   const T* before_relu, const T* other, const float* column,                           \
                                   const std::int64_t* index, T* out, Int candidates, Int rows, Int channels,        \
                                   int threads) {                                                                       \
        pass_step<T>(step, {change, normed, coefficients, before_relu, other, column, index, out, candidates, rows,     \
                            channels}, threads);                                                                        \
    }                                                                                                                   \
    extern "C" void zo_spread_##NAME(const float* images, const float* table, const std::int64_t* index, T* out,        \
                                     const Int* window, Int candidates, Int batch, Int channels, int threads) {         \
        Window w{window[0], window[1], window[2], window[3], window[4], window[5], window[6], window[7]};               \
        spread_all(images, table, index, out, w, candidates, batch, channels, threads);                                 \
    }                                                                                                                   \
    extern "C" void zo_mean_##NAME(const T* change, T* out, Int candidates, Int rows, Int channels, int threads) {   \
        mean_of(change, out, candidates, rows, channels, threads);                                                      \
    }

EXPORTED(float, float32)
EXPORTED(BFloat16, bfloat16)
