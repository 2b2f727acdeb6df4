//! An OCI runtime: namespaces, mounts, seccomp, capabilities, terminals
