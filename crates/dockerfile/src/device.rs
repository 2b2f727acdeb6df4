//! `RUN --device=…`: a CDI device name and whether it must be there.

use kiln_graph::Device;

use crate::error::InstructionProblem;
use crate::flags::boolean;
use crate::mount::cut_csv;

/// The fields that a device may have.
pub(crate) const KEYS: [&str; 2] = ["name", "required"];

/// Reads `NAME[,required[=BOOL]]` or `name=NAME,…`; a field that names nothing known is the name if there is
/// none yet, for device names hold `=`.
pub(crate) fn parse(text: &str) -> Result<Device, InstructionProblem> {
    let mut device = Device { name: String::new(), required: false };
    for field in cut_csv(text).map_err(InstructionProblem::DeviceList)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("required", None) => device.required = true,
            ("required", Some(value)) => {
                let wrong = || InstructionProblem::DeviceValue { key: key.clone(), value: value.to_owned() };
                device.required = boolean(value).ok_or_else(wrong)?;
            }
            ("name", Some(_)) if !device.name.is_empty() => return Err(InstructionProblem::DeviceNamed(device.name)),
            ("name", Some(value)) => value.clone_into(&mut device.name),
            _ if device.name.is_empty() => device.name = field,
            (_, None) => return Err(InstructionProblem::DeviceField(field)),
            (_, Some(_)) => return Err(InstructionProblem::DeviceKey { key, field }),
        }
    }
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        let device = |name: &str, required| Ok(Device { name: name.to_owned(), required });
        assert_eq!(parse("vendor.com/gpu=all"), device("vendor.com/gpu=all", false));
        assert_eq!(parse("vendor.com/gpu"), device("vendor.com/gpu", false));
        assert_eq!(parse("name=vendor.com/gpu=1,Required"), device("vendor.com/gpu=1", true));
        assert_eq!(parse("required=false,v/d=0"), device("v/d=0", false));
        let message = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(message(""), "failed to parse csv devices: EOF");
        assert_eq!(message("a,b"), "invalid field 'b' must be a key=value pair");
        assert_eq!(message("a,nam=b"), "unexpected key 'nam' in 'nam=b'");
        assert_eq!(message("a,name=b"), "device name already set to a");
        assert_eq!(message("a,required=maybe"), "invalid value for required: maybe");
    }
}
