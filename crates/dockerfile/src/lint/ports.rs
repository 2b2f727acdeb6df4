//! The words of EXPOSE, as far as their form is remarkable.

use crate::lower::port;
use crate::span::Span;

use super::collector::Collector;
use super::rule::Rule;

/// Reports about one port specification, `[ADDRESS:][HOST:]PORT[/PROTOCOL]`; false when it is malformed, so that
/// nothing after it is looked at.
pub(super) fn check(word: &str, span: &Span, collector: &mut Collector<'_>) -> bool {
    let (host, container) = match word.rsplit_once(':') {
        Some((host, container)) => (Some(host), container),
        None => (None, word),
    };
    let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
    if port.is_empty() || !matches!(protocol.to_lowercase().as_str(), "" | "tcp" | "udp" | "sctp") {
        return false;
    }
    if protocol.to_lowercase() != protocol {
        let detail = format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
        collector.report_word(Rule::ExposeProtoCasing, span, word, detail);
    }
    // A lone colon stands for neither an address nor a port.
    if host.is_some_and(|host| host.contains(|c| c != ':') || host.matches(':').count() > 1) {
        let detail = format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'");
        collector.report_word(Rule::ExposeInvalidFormat, span, word, detail);
    }
    port::parse(word).is_some()
}
