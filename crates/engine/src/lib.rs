//! Containers, networks and volumes as users manage them
