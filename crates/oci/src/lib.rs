//! The nouns of OCI: digests, references, platforms, descriptors, manifests, image configs
