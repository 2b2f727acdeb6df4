//! Images in and out of the store: pull, load, save, pack, unpack
