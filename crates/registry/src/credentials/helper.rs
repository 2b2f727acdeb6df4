//! Credential helpers: programs `docker-credential-NAME` that keep credentials. They are given a verb, and on their
//! standard input a registry or, to store, JSON; they answer with JSON.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::{CredentialsError, Secret};

/// How long a helper may take; it may ask a person.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// How much a helper may say, in bytes.
const ANSWER_LIMIT: u64 = 1 << 20;

/// How much of what it says is shown, in characters.
const SHOWN: usize = 300;

/// What every helper says when it knows nothing about a registry.
const UNKNOWN: &str = "credentials not found in native keychain";

/// A helper's answer.
pub(super) struct Answer {
    pub(super) username: String,
    pub(super) secret: Secret,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(rename = "ServerURL")]
    server: &'a str,
    #[serde(rename = "Username")]
    username: &'a str,
    #[serde(rename = "Secret")]
    secret: &'a str,
}

/// Asks the helper `name` about the registry `key`; `None` if it knows nothing about it.
pub(super) async fn get(name: &str, key: &str) -> Result<Option<Answer>, CredentialsError> {
    let helper = program(name);
    let failed = |detail: String| CredentialsError::Helper { helper: helper.clone(), host: key.into(), detail };
    let Some(command) = command(name) else { return Err(failed("its name must not contain a slash".into())) };
    ask(command, key).await.map_err(failed)
}

/// Has the helper `name` keep a secret for the registry `key`.
pub(super) async fn store(name: &str, key: &str, username: &str, secret: &Secret) -> Result<(), CredentialsError> {
    let entry = Entry { server: key, username, secret: secret.expose() };
    // A struct of texts always has a JSON form.
    let text = serde_json::to_string(&entry).unwrap_or_default() + "\n";
    tell(name, "store", "storing", &text).await
}

/// Has the helper `name` forget what it keeps for the registry `key`.
pub(super) async fn erase(name: &str, key: &str) -> Result<(), CredentialsError> {
    tell(name, "erase", "erasing", key).await
}

fn program(name: &str) -> String {
    format!("docker-credential-{name}")
}

fn command(name: &str) -> Option<Command> {
    (!name.contains('/')).then(|| Command::new(program(name)))
}

async fn tell(name: &str, verb: &str, doing: &'static str, input: &str) -> Result<(), CredentialsError> {
    let failed = |detail: String, said: &str| CredentialsError::Keep {
        doing,
        detail,
        said: said.trim().chars().take(SHOWN).collect(),
    };
    let Some(command) = command(name) else {
        return Err(failed(format!("{:?}: its name must not contain a slash", program(name)), ""));
    };
    let output = run(command, verb, input).await.map_err(|trouble| failed(trouble.detail(&program(name)), ""))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(ended(output.status), &output.answer))
}

/// How a process ended, as docker words it.
fn ended(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit status {code}"))
}

/// Runs the helper `program`; errors are for a person.
async fn ask(program: Command, key: &str) -> Result<Option<Answer>, String> {
    let output = run(program, "get", key).await.map_err(|trouble| trouble.to_string())?;
    if !output.status.success() {
        let said = if output.answer.trim().is_empty() { output.complaint.trim() } else { output.answer.trim() };
        if said.contains(UNKNOWN) {
            return Ok(None);
        }
        return Err(said.chars().take(SHOWN).collect());
    }
    let wire: Wire = serde_json::from_str(&output.answer).map_err(|_| "its answer is not the expected JSON")?;
    Ok(Some(Answer { username: wire.username, secret: Secret::new(wire.secret) }))
}

/// Why a helper gave no answer.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("cannot start it: {0}")]
    Start(std::io::Error),
    #[error("no answer within {} s", TIME_LIMIT.as_secs())]
    Silence,
    #[error("cannot talk to it: {0}")]
    Talk(std::io::Error),
}

impl Trouble {
    /// As docker words it where it has words.
    fn detail(&self, program: &str) -> String {
        match self {
            Trouble::Start(error) if error.kind() == std::io::ErrorKind::NotFound => {
                format!("exec: {program:?}: executable file not found in $PATH")
            }
            other => other.to_string(),
        }
    }
}

async fn run(mut program: Command, verb: &str, input: &str) -> Result<Output, Trouble> {
    let child = program
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Trouble::Start)?;
    let answer = tokio::time::timeout(TIME_LIMIT, converse(child, input)).await;
    answer.map_err(|_| Trouble::Silence)?.map_err(Trouble::Talk)
}

struct Output {
    status: ExitStatus,
    answer: String,
    complaint: String,
}

async fn converse(mut child: Child, input: &str) -> std::io::Result<Output> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let say = async {
        let Some(mut stdin) = stdin else { return Ok(()) };
        match stdin.write_all(input.as_bytes()).await {
            // A helper may answer without reading.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    };
    let mut answer = String::new();
    let mut complaint = String::new();
    let hear = async {
        match stdout {
            Some(pipe) => pipe.take(ANSWER_LIMIT).read_to_string(&mut answer).await,
            None => Ok(0),
        }
    };
    let hear_complaint = async {
        match stderr {
            Some(pipe) => pipe.take(ANSWER_LIMIT).read_to_string(&mut complaint).await,
            None => Ok(0),
        }
    };
    tokio::try_join!(say, hear, hear_complaint)?;
    let status = child.wait().await?;
    Ok(Output { status, answer, complaint })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn scripted(script: &str) -> Result<Option<Answer>, String> {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).arg("helper");
        ask(shell, "https://index.docker.io/v1/").await
    }

    #[tokio::test]
    async fn a_helper_is_given_the_registry_and_answers_with_json() {
        let script = r#"key=$(cat); printf '{"ServerURL":"x","Username":"%s %s","Secret":"hunter2"}' "$1" "$key""#;
        let answer = scripted(script).await.unwrap().unwrap();
        assert_eq!(answer.username, "get https://index.docker.io/v1/");
        assert_eq!(answer.secret.expose(), "hunter2");
    }

    #[tokio::test]
    async fn a_helper_may_know_nothing() {
        let nothing = scripted("echo credentials not found in native keychain; exit 1").await;
        assert!(nothing.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_failing_helper_is_an_error() {
        let check = async |script: &str, want: &str| assert_eq!(scripted(script).await.err().unwrap(), want);
        check("echo locked >&2; exit 1", "locked").await;
        check("echo hunter2", "its answer is not the expected JSON").await;
        let missing = get("no-such-helper-anywhere", "a.example").await.err().unwrap().to_string();
        assert!(missing.contains("docker-credential-no-such-helper-anywhere") && missing.contains("a.example"));
        assert!(get("../evil", "a.example").await.is_err());
    }

    #[tokio::test]
    async fn what_a_helper_cannot_keep_is_told_in_dockers_words() {
        let error = store("no-such-helper-anywhere", "a.example", "ann", &Secret::new("hunter2")).await.unwrap_err();
        let want = "error storing credentials - err: exec: \"docker-credential-no-such-helper-anywhere\": executable \
                    file not found in $PATH, out: ``";
        assert_eq!(error.to_string(), want);
        assert!(erase("../evil", "a.example").await.unwrap_err().to_string().contains("slash"));
    }
}
