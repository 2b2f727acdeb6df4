//! Dockerfile text to a typed tree with spans, and from there to the build graph
