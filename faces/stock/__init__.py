"""The stock faces: drawn as SVG by `drawing`, in layers, and committed as built faces."""
