//! The times in an image's history: those of the layers, so that a build from the cache is the same image.

use kiln_oci::ImageConfig;
use kiln_store::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Fills in when each entry that a build added was made. An entry without a layer has the time of the layer
/// before it, or of the first one; where nothing added a layer, of the base image. SOURCE_DATE_EPOCH (`epoch`,
/// in seconds) is the time of all.
pub(crate) fn dated(
    mut config: ImageConfig,
    inherited: usize,
    made_at: &[Option<Timestamp>],
    epoch: Option<i64>,
) -> ImageConfig {
    let added = config.history.iter().skip(inherited).filter(|entry| !entry.empty_layer).count();
    let mut times = made_at.iter().skip(made_at.len().saturating_sub(added)).copied().flatten();
    let base = config.history.iter().take(inherited).rev().find_map(|entry| entry.created.clone());
    let first = || times.clone().next().and_then(rfc3339);
    let mut current = match epoch {
        Some(epoch) => rfc3339(Timestamp::from_seconds(epoch)),
        None => first().or(base).or_else(|| config.created.clone()),
    };
    for entry in config.history.iter_mut().skip(inherited) {
        if !entry.empty_layer && epoch.is_none() {
            current = times.next().and_then(rfc3339).or(current);
        }
        entry.created.clone_from(&current);
    }
    config.created = current;
    config
}

fn rfc3339(time: Timestamp) -> Option<String> {
    let nanoseconds = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use kiln_oci::HistoryEntry;

    use super::*;

    fn config(empty: &[bool]) -> ImageConfig {
        let entry = |empty: &bool| HistoryEntry { empty_layer: *empty, ..HistoryEntry::default() };
        ImageConfig { history: empty.iter().map(entry).collect(), ..ImageConfig::default() }
    }

    fn times(config: &ImageConfig) -> Vec<&str> {
        config.history.iter().map(|entry| entry.created.as_deref().unwrap_or("-")).collect()
    }

    #[test]
    fn entries_have_the_times_of_their_layers() {
        let made = [None, Some(Timestamp::from_seconds(10)), Some(Timestamp::from_seconds(20))];
        let dated = dated(config(&[false, true, false, true, false, true]), 1, &made, None);
        let want = [
            "-",
            "1970-01-01T00:00:10Z",
            "1970-01-01T00:00:10Z",
            "1970-01-01T00:00:10Z",
            "1970-01-01T00:00:20Z",
            "1970-01-01T00:00:20Z",
        ];
        assert_eq!(times(&dated), want);
        assert_eq!(dated.created.as_deref(), Some("1970-01-01T00:00:20Z"));
    }

    #[test]
    fn the_epoch_is_the_time_of_all_that_is_added() {
        let made = [Some(Timestamp::from_seconds(10))];
        let dated = dated(config(&[false, true]), 0, &made, Some(0));
        assert_eq!(times(&dated), ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"]);
    }

    #[test]
    fn without_a_layer_of_its_own_an_image_is_as_old_as_its_base() {
        let mut config = config(&[false, true]);
        config.history[0].created = Some("1970-01-01T00:00:05Z".into());
        let dated = dated(config, 1, &[None], None);
        assert_eq!(times(&dated), ["1970-01-01T00:00:05Z", "1970-01-01T00:00:05Z"]);
        assert_eq!(dated.created.as_deref(), Some("1970-01-01T00:00:05Z"));
    }

    #[test]
    fn an_image_without_layers_has_no_time() {
        assert_eq!(dated(config(&[true]), 0, &[], None).created, None);
    }
}
