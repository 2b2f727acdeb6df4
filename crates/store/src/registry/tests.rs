//! The registry's rows and bytes together: what is linked, found, collected and left alone.
