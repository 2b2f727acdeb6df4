//! A process in a root file system made of layers
