"""Problem families, reached by registry id: zotoolkit.make("Functions/Sphere-v0")."""
