//! The build graph: operations, vertices, edges, definitions and their digests
