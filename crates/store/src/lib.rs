//! All state on disk: blobs, layers, look-ups across layers, cache records, images, leases
