//! Layers to archives and back.
