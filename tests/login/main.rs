//! How kiln gets to registries: logging in and out, credential helpers, tokens, certificates, hosts and mirrors, proxies;
//! and that what is secret goes to nobody else.

mod helpers;
mod hosts;
mod keeping;
mod proxies;
mod terminal;
mod tls;
mod tokens;

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use kiln_tests::kiln::{Answer, Kiln, answer};

/// `ann:hunter2`, as basic authentication has it.
const ANN: &str = "YW5uOmh1bnRlcjI=";

/// What docker says when a password goes into its file.
fn warning(kiln: &Kiln) -> String {
    format!(
        "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this \
         warning. See\nhttps://docs.docker.com/go/credential-store/\n\n",
        kiln.home().join(".docker/config.json").display()
    )
}

/// Logs in with a password on the standard input.
fn login(kiln: &Kiln, server: &str, password: &str) -> Answer {
    with_input(kiln, &["login", "-u", "ann", "--password-stdin", server], password)
}

fn with_input(kiln: &Kiln, args: &[&str], input: &str) -> Answer {
    let (reader, mut writer) = std::io::pipe().expect("pipe");
    writer.write_all(input.as_bytes()).expect("what fits into a pipe");
    drop(writer);
    answer(kiln.command(args).stdin(Stdio::from(reader)))
}

/// Docker's file; empty if there is none.
fn docker_config(kiln: &Kiln) -> String {
    fs::read_to_string(kiln.home().join(".docker/config.json")).unwrap_or_default()
}

fn write_docker_config(kiln: &Kiln, text: &str) {
    let directory = kiln.home().join(".docker");
    fs::create_dir_all(&directory).expect("docker's directory");
    fs::write(directory.join("config.json"), text).expect("config.json");
}

/// Writes kiln's configuration file; to be named by `KILN_CONFIG`.
fn configured(kiln: &Kiln, text: &str) -> std::path::PathBuf {
    let file = kiln.scratch("settings").join("config.toml");
    fs::write(&file, text).expect("config.toml");
    file
}

/// Runs kiln with these settings.
fn run_with(kiln: &Kiln, settings: &str, args: &[&str]) -> Answer {
    let file = configured(kiln, settings);
    answer(kiln.command(args).env("KILN_CONFIG", file))
}
