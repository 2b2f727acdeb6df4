//! `--secret`: which secret is found where. Values are read when a step wants them.

use std::path::Path;

use kiln_build::SecretSource;

use super::flags::pairs;

/// One `--secret`: its id, and where it is. Without a place it is the variable of that name, or else the file.
pub(super) fn source(text: &str) -> Result<(String, SecretSource), String> {
    let (mut id, mut kind, mut file, mut variable) = (None, None, None, None);
    let fields = pairs::fields(text)?;
    for field in &fields {
        let (name, value) =
            field.split_once('=').ok_or_else(|| format!("invalid field {field:?}: expected KEY=VALUE"))?;
        match name.to_ascii_lowercase().as_str() {
            "id" => id = Some(value),
            "type" if matches!(value, "file" | "env") => kind = Some(value),
            "type" => return Err(format!("unsupported secret type {value:?}: use file or env")),
            "src" | "source" => file = Some(value),
            "env" => variable = Some(value),
            other => return Err(format!("unexpected key {other:?}: use id, type, src and env")),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or("id is required")?;
    let place = match (kind, file, variable) {
        (_, _, Some(name)) => SecretSource::Variable(name.into()),
        (Some("env"), Some(name), None) => SecretSource::Variable(name.into()),
        (_, Some(path), None) => SecretSource::File(path.into()),
        (Some("env"), None, None) => SecretSource::Variable(id.into()),
        (None, None, None) if std::env::var_os(id).is_some() => SecretSource::Variable(id.into()),
        (_, None, None) => SecretSource::File(id.into()),
    };
    match &place {
        SecretSource::File(path) if !is_file(path) => Err(format!("{} is no file that can be read", path.display())),
        _ => Ok((id.to_owned(), place)),
    }
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_secrets() {
        let variable = |name: &str| SecretSource::Variable(name.into());
        assert_eq!(source("id=a,env=B").unwrap(), ("a".into(), variable("B")));
        assert_eq!(source("id=a,type=env").unwrap().1, variable("a"));
        assert_eq!(source("type=env,id=a,src=C").unwrap().1, variable("C"));
        assert_eq!(source("id=PATH").unwrap().1, variable("PATH"));
        assert_eq!(source("id=a,src=/dev/null").unwrap().1, SecretSource::File("/dev/null".into()));
        for bad in ["", "src=/dev/null", "id=a", "id=a,src=/no/such", "id=a,what=1", "id=a,type=x", "id="] {
            assert!(source(bad).is_err(), "{bad}");
        }
    }
}
