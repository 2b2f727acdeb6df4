//! Standard streams, terminals, signals and the tiny init.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use kiln_runtime::{Container, Launch, Status, Stdio, start};

use crate::Case;
use crate::bench::Bench;

pub(crate) const CASES: &[Case] = &[
    ("input_reaches_the_command", input_reaches_the_command),
    ("without_an_input_there_is_nothing_to_read", without_an_input_there_is_nothing_to_read),
    ("streams_can_be_opened_again", streams_can_be_opened_again),
    ("a_terminal_has_the_size_asked_for", a_terminal_has_the_size_asked_for),
    ("the_terminal_is_the_controlling_one", the_terminal_is_the_controlling_one),
    ("signals_reach_the_command", signals_reach_the_command),
    ("init_forwards_signals_and_reaps", init_forwards_signals_and_reaps),
    ("a_container_outlives_the_thread_that_started_it", a_container_outlives_the_thread_that_started_it),
    ("killing_and_dropping_end_everything", killing_and_dropping_end_everything),
];

fn input_reaches_the_command(bench: &Bench) {
    let (input, mut writer) = std::io::pipe().unwrap();
    let (mut reader, output) = std::io::pipe().unwrap();
    let mut launch = bench.script("cat; echo end");
    launch.stdio = Stdio::Streams { stdin: Some(input.into()), stdout: Some(output.into()), stderr: None };
    let mut container = start(launch).unwrap();
    writer.write_all(b"some text\n").unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "some text\nend\n");
    assert_eq!(container.wait().unwrap().status, Status::Code(0));
}

fn without_an_input_there_is_nothing_to_read(bench: &Bench) {
    assert_eq!(bench.run(bench.script("cat && echo end")).unwrap().output, "end\n");
}

fn streams_can_be_opened_again(bench: &Bench) {
    let id = if bench.tier.is_single_id() { 0 } else { 1000 };
    let arguments = ["sh", "-c", "echo one > /dev/stdout; echo two > /dev/stderr"];
    let spec = bench.spec_for(&arguments, id, &[], kiln_runtime::spec::Network::Host);
    assert_eq!(bench.run(bench.launch(spec)).unwrap().output, "one\ntwo\n");
}

/// Starts with a terminal and gives its controlling side as a file too.
fn with_terminal(mut launch: Launch) -> (Container, kiln_runtime::Terminal, BufReader<File>) {
    launch.stdio = Stdio::Terminal { size: Some((33, 77)) };
    let mut container = start(launch).unwrap();
    let terminal = container.take_terminal().unwrap();
    let copy: OwnedFd = terminal.as_fd().try_clone_to_owned().unwrap();
    (container, terminal, BufReader::new(File::from(copy)))
}

/// A line without the terminal's carriage return; empty at the end.
fn line(reader: &mut BufReader<File>) -> String {
    let mut text = String::new();
    // A terminal without a container reads as EIO.
    let _ = reader.read_line(&mut text);
    text.trim_end().to_owned()
}

fn a_terminal_has_the_size_asked_for(bench: &Bench) {
    let script = "stty size; read wait; stty size; stat -c %u /dev/console";
    let (mut container, terminal, mut reader) = with_terminal(bench.script(script));
    assert_eq!(line(&mut reader), "33 77");
    terminal.resize(10, 20).unwrap();
    reader.get_mut().write_all(b"go\n").unwrap();
    assert_eq!(line(&mut reader), "go");
    assert_eq!(line(&mut reader), "10 20");
    assert_eq!(line(&mut reader), "0");
    assert_eq!(line(&mut reader), "");
    assert_eq!(container.wait().unwrap().status, Status::Code(0));
}

fn the_terminal_is_the_controlling_one(bench: &Bench) {
    let script = "tty; echo through > /dev/tty; trap 'echo interrupted; exit 9' INT; echo ready; \
                  while :; do sleep 1000 & wait; done";
    let (mut container, _terminal, mut reader) = with_terminal(bench.script(script));
    assert_eq!(line(&mut reader), "/dev/pts/0");
    assert_eq!(line(&mut reader), "through");
    assert_eq!(line(&mut reader), "ready");
    reader.get_mut().write_all(&[3]).unwrap();
    assert!(line(&mut reader).ends_with("interrupted"));
    assert_eq!(container.wait().unwrap().status, Status::Code(9));
}

/// Starts a script and waits for its first line.
fn until_ready(mut launch: Launch) -> (Container, BufReader<File>) {
    let (reader, output) = std::io::pipe().unwrap();
    launch.stdio = Stdio::Streams { stdin: None, stdout: Some(output.into()), stderr: None };
    let container = start(launch).unwrap();
    let mut reader = BufReader::new(File::from(OwnedFd::from(reader)));
    assert_eq!(line(&mut reader), "ready");
    (container, reader)
}

fn signals_reach_the_command(bench: &Bench) {
    let script = "trap 'exit 5' TERM; echo ready; while :; do sleep 1000 & wait; done";
    let (mut container, _reader) = until_ready(bench.script(script));
    container.signaller().signal(libc::SIGTERM).unwrap();
    assert_eq!(container.wait().unwrap().status, Status::Code(5));
    container.signaller().signal(libc::SIGTERM).unwrap();
}

fn init_forwards_signals_and_reaps(bench: &Bench) {
    let script =
        "trap 'exit 6' TERM; (sh -c 'echo orphan; exit 0' &); echo ready $$; while :; do sleep 1000 & wait; done";
    let mut launch = bench.script(script);
    launch.init = true;
    let (reader, output) = std::io::pipe().unwrap();
    launch.stdio = Stdio::Streams { stdin: None, stdout: Some(output.into()), stderr: None };
    let mut container = start(launch).unwrap();
    let mut reader = BufReader::new(File::from(OwnedFd::from(reader)));
    let mut lines = [line(&mut reader), line(&mut reader)];
    lines.sort();
    assert_eq!(lines, ["orphan", "ready 2"]);
    container.signaller().signal(libc::SIGTERM).unwrap();
    assert_eq!(container.wait().unwrap().status, Status::Code(6));

    let mut launch = bench.launch(bench.spec(&["nope"]));
    launch.init = true;
    assert_eq!(start(launch).err().unwrap().exit_code(), 127);
    let mut launch = bench.script("kill -9 $$");
    launch.init = true;
    assert_eq!(bench.run(launch).unwrap().code(), 137);
}

fn killing_and_dropping_end_everything(bench: &Bench) {
    let script = "setsid sleep 1000 & echo ready; sleep 1000";
    let (mut container, mut reader) = until_ready(bench.script(script));
    container.signaller().kill().unwrap();
    assert_eq!(line(&mut reader), "");
    assert_eq!(container.wait().unwrap().status, Status::Signal(9));

    let (container, mut reader) = until_ready(bench.script(script));
    drop(container);
    assert_eq!(line(&mut reader), "");
}

fn a_container_outlives_the_thread_that_started_it(bench: &Bench) {
    let (input, mut writer) = std::io::pipe().unwrap();
    let (mut reader, output) = std::io::pipe().unwrap();
    let mut launch = bench.script("read word; echo $word");
    launch.stdio = Stdio::Streams { stdin: Some(input.into()), stdout: Some(output.into()), stderr: None };
    let mut container = std::thread::spawn(move || start(launch).unwrap()).join().unwrap();
    writer.write_all(b"alive\n").unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "alive\n");
    assert_eq!(container.wait().unwrap().status, Status::Code(0));
}
