//! The project's own chores: `cargo xtask demo|test|fixtures|bench`.
//! Knows kiln only as a program that it builds and starts.

mod bench;
mod binary;
mod command;
mod demo;
mod emulator;
mod fixtures;
mod foreign;
mod layer_difference;
mod layout;
mod moto;
mod packages;
mod test;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask CHORE

  demo           build an example, change a file, build again, run it
  test [--full]  everything that must hold before a change goes in; --full with the large counts
  fixtures [DIRECTORY...]
                 assemble the base images' stand-ins under target/fixtures (once), or only these; without
                 names also install the S3 server that tests use, under target/moto
  bench          kiln beside plain tools, as ratios of one run
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["demo"] => demo::demo(),
        ["test"] => test::test(false),
        ["test", "--full"] => test::test(true),
        ["bench"] => bench::bench(),
        ["fixtures"] => fixtures::assemble().and_then(|_| moto::ensure(&workspace::root()?)),
        ["fixtures", wanted @ ..] => fixtures::assemble_only(wanted).map(drop),
        ["help" | "-h" | "--help"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
