//! `login`: shows a registry who the user is and keeps that for later, as docker's command line does.

mod prompt;
mod server;

use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;

use kiln_registry::{
    Client, Credential, CredentialSource as _, DockerConfig, Kept, Login, LoginError, LoginSecret, Secret,
};

pub(crate) use server::{Server, host_of};

use crate::failure::{Failure, chain};
use crate::{host, output};

/// The flags of `login`.
#[derive(clap::Args)]
pub(crate) struct LoginArguments {
    /// The registry; Docker Hub if none is named
    #[arg(value_name = "SERVER")]
    server: Option<String>,
    /// Username
    #[arg(short, long)]
    username: Option<String>,
    /// Password or Personal Access Token (PAT)
    #[arg(short, long)]
    password: Option<String>,
    /// Take the Password or Personal Access Token (PAT) from stdin
    #[arg(long)]
    password_stdin: bool,
}

impl std::fmt::Debug for LoginArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginArguments").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Logs in.
pub(crate) fn run(arguments: &LoginArguments) -> Result<ExitCode, Failure> {
    check(arguments)?;
    let given = Given::read(arguments)?;
    warn_of_variable();
    let session = Session::start(Server::named(arguments.server.as_deref()))?;
    let known = if given.is_nothing() { session.stored()? } else { None };
    let mut suggested = None;
    if let Some((username, password)) = known {
        if session.again(&username, &password)? {
            return succeeded();
        }
        suggested = Some(username);
    }
    let (username, password) = given.completed(&session.server, suggested.as_deref())?;
    let login = session.shown(&username, password).map_err(|error| refusal(&error))?;
    session.keep(&login)?;
    succeeded()
}

/// Says that what is kept here may count for nothing.
pub(super) fn warn_of_variable() {
    let name = host::CREDENTIALS_VARIABLE;
    if std::env::var_os(name).is_some_and(|value| !value.is_empty()) {
        eprintln!("WARNING! {name} is set and takes precedence. Unset it to use what is kept.");
    }
}

fn succeeded() -> Result<ExitCode, Failure> {
    output::line("Login Succeeded")?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses flags that do not go together.
fn check(arguments: &LoginArguments) -> Result<(), Failure> {
    let LoginArguments { username, password, password_stdin, .. } = arguments;
    let is_empty = |text: &Option<String>| text.as_ref().is_some_and(String::is_empty);
    let words = match () {
        () if *password_stdin && password.is_some() => {
            "conflicting options: cannot specify both --password and --password-stdin"
        }
        () if *password_stdin && username.is_none() => "the --password-stdin option requires --username to be set",
        () if is_empty(username) => "username is empty",
        () if is_empty(password) => "password is empty",
        () => return Ok(()),
    };
    Err(Failure::new(words))
}

/// What the user gave with the command; empty is nothing.
struct Given {
    username: String,
    password: Secret,
}

impl Given {
    fn read(arguments: &LoginArguments) -> Result<Given, Failure> {
        let username = arguments.username.clone().unwrap_or_default();
        if let Some(password) = &arguments.password {
            eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
            return Ok(Given { username, password: Secret::new(password) });
        }
        let mut text = String::new();
        if arguments.password_stdin {
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| Failure::new(format!("cannot read the password: {error}")))?;
        }
        let line = text.strip_suffix('\n').unwrap_or(&text);
        Ok(Given { username, password: Secret::new(line.strip_suffix('\r').unwrap_or(line)) })
    }

    fn is_nothing(&self) -> bool {
        self.username.is_empty() && self.password.expose().is_empty()
    }

    /// The same with what is missing asked for.
    fn completed(self, server: &Server, suggested: Option<&str>) -> Result<(String, Secret), Failure> {
        let is_whole = !self.username.is_empty() && !self.password.expose().is_empty();
        if !is_whole && !std::io::stdin().is_terminal() {
            return Err(Failure::new("Error: Cannot perform an interactive login from a non TTY device"));
        }
        let mut username = self.username.trim().to_owned();
        if username.is_empty() {
            username = prompt::username(server.is_public(), suggested)?;
        }
        let mut password = self.password;
        if password.expose().trim().is_empty() {
            password = prompt::password(server.is_public())?;
        }
        Ok((username, password))
    }
}

/// A registry to log in to, and where logins are kept.
struct Session {
    server: Server,
    config: DockerConfig,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Session {
    fn start(server: Server) -> Result<Session, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let config = host::kept_credentials()?;
        // Only what is shown below shall be shown.
        let client = Client::new(host::connections()?, std::sync::Arc::new(kiln_registry::Anonymous));
        Ok(Session { server, config, client, runtime })
    }

    /// The user and the password that an earlier login left.
    fn stored(&self) -> Result<Option<(String, Secret)>, Failure> {
        let stored = self.runtime.block_on(self.config.credential(self.server.domain()));
        match stored.map_err(|error| Failure::new(chain(&error)))? {
            Some(Credential::Basic { username, password }) if !username.is_empty() && !password.expose().is_empty() => {
                Ok(Some((username, password)))
            }
            _ => Ok(None),
        }
    }

    /// Logs in with what an earlier login left; tells whether that is still good.
    fn again(&self, username: &str, password: &Secret) -> Result<bool, Failure> {
        eprintln!("Authenticating with existing credentials... [Username: {username}]");
        eprintln!("\n Info -> To login with a different account, run 'docker logout' followed by 'docker login'\n\n");
        match self.shown(username, password.clone()) {
            Ok(login) => {
                self.keep(&login)?;
                return Ok(true);
            }
            Err(error) if error.is_refusal() => eprintln!("Stored credentials invalid or expired"),
            Err(error) => eprintln!("Login did not succeed, error: {}", refusal(&error).message),
        }
        Ok(false)
    }

    /// Shows the registry a user name and a password; what is to be kept if it takes them.
    fn shown(&self, username: &str, password: Secret) -> Result<Login, LoginError> {
        let granted = self.runtime.block_on(self.client.login(self.server.domain(), username, &password))?;
        let secret = match granted.identity_token {
            Some(token) => LoginSecret::IdentityToken(token),
            None => LoginSecret::Password(password),
        };
        Ok(Login { username: username.to_owned(), secret })
    }

    fn keep(&self, login: &Login) -> Result<(), Failure> {
        let kept = self.runtime.block_on(self.config.keep(self.server.key(), login));
        let kept = kept.map_err(|error| Failure::new(format!("Error saving credentials: {}", chain(&error))))?;
        if let (Kept::File(path), LoginSecret::Password(_)) = (kept, &login.secret) {
            eprintln!(
                "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove \
                 this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
                path.display()
            );
        }
        Ok(())
    }
}

fn refusal(error: &LoginError) -> Failure {
    Failure::new(format!("Error response from daemon: {}", chain(error)))
}
