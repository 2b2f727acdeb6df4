//! What can be put before the registry that kiln serves: TLS, users, a ban on changes, another registry.

mod kiln_client;
mod mirror;
mod read_only;
mod slow;
mod tls;
mod users;
