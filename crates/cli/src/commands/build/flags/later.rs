//! What docker has and kiln does not do yet, or has only one of. Each is refused with a reason; what turns it off is
//! accepted.

use super::pairs;
use crate::arguments;

/// `--attest`, `--provenance`, `--sbom`: only what asks for none.
pub(super) fn attestations(attest: &[String], provenance: Option<&str>, sbom: Option<&str>) -> Result<(), String> {
    for (flag, value) in [("provenance", provenance), ("sbom", sbom)] {
        if let Some(value) = value
            && arguments::truth(value) != Some(false)
            && !value.is_empty()
        {
            return Err(refused(&format!("--{flag}={value}")));
        }
    }
    for text in attest {
        let fields = pairs::fields(text)?;
        let value = |wanted: &str| {
            let mut pairs = fields.iter().filter_map(|field| field.split_once('='));
            pairs.rfind(|(key, _)| *key == wanted).map(|(_, value)| value)
        };
        if value("type").is_none() {
            return Err(format!("attestation type not specified: {text}"));
        }
        if value("disabled").and_then(arguments::truth) != Some(true) {
            return Err(refused(&format!("--attest {text}")));
        }
    }
    Ok(())
}

fn refused(flag: &str) -> String {
    format!("{flag} is not supported yet: kiln makes no attestations; --provenance=false --sbom=false ask for none")
}

/// `--builder` or BUILDX_BUILDER.
pub(super) fn builder(name: Option<&str>) -> Result<(), String> {
    match name {
        None | Some("" | "default") => Ok(()),
        Some(name) => Err(format!("no builder {name:?} found: kiln has one, \"default\", on this machine")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn attestations_can_be_declined_only() {
        assert!(attestations(&[], Some("false"), Some("0")).is_ok());
        assert!(attestations(&owned(&["type=sbom,disabled=true"]), None, None).is_ok());
        for (attest, provenance, sbom) in [
            (&[][..], Some("true"), None),
            (&[], Some("mode=max"), None),
            (&[], None, Some("true")),
            (&["type=sbom"], None, None),
            (&["type=provenance,mode=max,disabled=false"], None, None),
        ] {
            let refused = attestations(&owned(attest), provenance, sbom).unwrap_err();
            assert!(refused.contains("not supported yet"), "{refused}");
        }
        assert_eq!(
            attestations(&owned(&["mode=max"]), None, None),
            Err("attestation type not specified: mode=max".into())
        );
    }

    #[test]
    fn builders() {
        assert!(builder(None).is_ok() && builder(Some("default")).is_ok());
        assert!(builder(Some("other")).unwrap_err().contains("no builder \"other\" found"));
    }
}
