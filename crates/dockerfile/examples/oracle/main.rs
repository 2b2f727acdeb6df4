//! Answers questions about single functions, one JSON request a line on stdin, one JSON answer a line on
//! stdout: the line protocol of the conformance files.

use std::io::{self, BufRead, Write};

mod answer;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?) {
            Ok(request) => answer::answer(&request),
            Err(error) => serde_json::json!({ "bad_request": error.to_string() }),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
