//! Secrets of `RUN --mount=type=secret` while a step uses them: asked for when it runs, part of no key, no record and
//! no message.

use kiln_graph::SecretMount;
use kiln_sandbox::Secret;

use super::Steps;
use crate::error::StepProblem;

impl Steps {
    /// The value of a secret; `None` if the caller has none and the step can do without.
    pub(super) fn secret_value(&self, secret: &SecretMount) -> Result<Option<Secret>, StepProblem> {
        let found = self.client.secret(&secret.id)?;
        if found.is_none() && secret.required {
            return Err(StepProblem::MissingSecret(secret.id.clone()));
        }
        Ok(found)
    }
}

/// The variable that holds a secret, as `NAME=VALUE`, if one was asked for.
pub(super) fn secret_variable(secret: &SecretMount, value: &Secret) -> Result<Option<String>, StepProblem> {
    let Some(name) = &secret.variable else { return Ok(None) };
    match std::str::from_utf8(&value.0) {
        Ok(text) if !text.contains('\0') => Ok(Some(format!("{name}={text}"))),
        _ => {
            let reason = "no variable can hold it, because it is no UTF-8 text or has a NUL byte";
            Err(StepProblem::Other(format!("secret {}: {reason}", secret.id)))
        }
    }
}

/// Sets variables in an environment; each takes the place of one of the same name.
pub(super) fn set_variables(environment: &mut Vec<String>, variables: Vec<String>) {
    for variable in variables {
        let name = variable.split('=').next().unwrap_or_default();
        environment.retain(|each| each.split('=').next() != Some(name));
        environment.push(variable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(variable: Option<&str>) -> SecretMount {
        SecretMount {
            id: "id".into(),
            variable: variable.map(Into::into),
            as_file: false,
            uid: 0,
            gid: 0,
            mode: 0o400,
            required: false,
        }
    }

    #[test]
    fn a_variable_holds_text_only() {
        let value = |bytes: &[u8]| Secret(bytes.to_vec());
        assert_eq!(secret_variable(&mount(Some("T")), &value(b"a=b")).unwrap().unwrap(), "T=a=b");
        assert_eq!(secret_variable(&mount(None), &value(b"x")).unwrap(), None);
        for bytes in [&b"x\0hush"[..], b"hush\xff"] {
            let error = secret_variable(&mount(Some("T")), &value(bytes)).unwrap_err().to_string();
            assert!(error.contains("secret id") && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_variable_takes_the_place_of_another() {
        let mut environment = vec!["A=1".to_owned(), "T=old".into(), "T2=x".into()];
        set_variables(&mut environment, vec!["T=new".into()]);
        assert_eq!(environment, ["A=1", "T2=x", "T=new"]);
    }
}
