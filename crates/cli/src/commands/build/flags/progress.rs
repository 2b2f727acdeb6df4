//! `--progress`, `--quiet` and BUILDKIT_PROGRESS together.

use clap::ValueEnum;

use crate::display::Progress;

/// How progress is shown; `auto` on the command line leaves it to the environment.
pub(super) fn resolve(flag: &str, quiet: bool, environment: Option<&str>) -> Result<Progress, String> {
    let parse = |text: &str| match text {
        "" => Ok(Progress::Auto),
        text => Progress::from_str(text, false).map_err(|_| format!("invalid progress mode {text}")),
    };
    let flag = parse(flag)?;
    if quiet {
        return match flag {
            Progress::Auto | Progress::Quiet => Ok(Progress::Quiet),
            other => Err(format!("progress={} and quiet cannot be used together", other.name())),
        };
    }
    match (flag, environment) {
        (Progress::Auto, Some(text)) => parse(text),
        (flag, _) => Ok(flag),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment() {
        assert_eq!(resolve("auto", false, None), Ok(Progress::Auto));
        assert_eq!(resolve("auto", false, Some("plain")), Ok(Progress::Plain));
        assert_eq!(resolve("tty", false, Some("plain")), Ok(Progress::Tty));
        assert_eq!(resolve("auto", true, Some("plain")), Ok(Progress::Quiet));
        assert_eq!(resolve("rawjson", false, None), Ok(Progress::Rawjson));
        assert_eq!(resolve("none", false, None), Ok(Progress::None));
        assert_eq!(resolve("plain", true, None), Err("progress=plain and quiet cannot be used together".into()));
        assert_eq!(resolve("loud", false, None), Err("invalid progress mode loud".into()));
        assert_eq!(resolve("auto", false, Some("loud")), Err("invalid progress mode loud".into()));
    }
}
