//! Several platforms in one graph: what they have in common is there once, and so runs once.

use kiln_dockerfile::Lowered;
use kiln_graph::{Definition, DefinitionError, Edge, VertexId};
use kiln_oci::Platform;

/// The platforms to build, each once, in the order asked for; this machine's if none is asked for.
pub(crate) fn distinct(asked: &[Platform]) -> Vec<Platform> {
    if asked.is_empty() {
        return vec![Platform::host()];
    }
    let mut platforms: Vec<Platform> = Vec::new();
    for platform in asked {
        if !platforms.contains(platform) {
            platforms.push(platform.clone());
        }
    }
    platforms
}

/// Joins the graphs of all platforms into one; tells each platform's target in it.
pub(crate) fn joined(lowered: &[Lowered]) -> Result<(Definition, Vec<Option<VertexId>>), DefinitionError> {
    if let [only] = lowered {
        return Ok((only.definition.clone(), vec![only.target]));
    }
    let mut definition = Definition::new();
    let mut targets = Vec::new();
    for each in lowered {
        let mut places: Vec<VertexId> = Vec::new();
        for (id, vertex) in each.definition.iter() {
            let mut vertex = vertex.clone();
            let moved = |edge: &Edge| Edge { vertex: places[edge.vertex.0 as usize], ..*edge };
            vertex.inputs = vertex.inputs.iter().map(moved).collect();
            let place = definition.add(vertex)?;
            each.definition.also(id).iter().for_each(|meta| definition.note(place, meta.clone()));
            places.push(place);
        }
        targets.push(each.target.map(|target| places[target.0 as usize]));
    }
    Ok((definition, targets))
}

#[cfg(test)]
mod tests {
    use kiln_dockerfile::{Bases, Dockerfile, Plan, PlanOptions, ResolvedBase};
    use kiln_oci::{Digest, ImageConfig};

    use super::*;

    fn lowered(text: &str, platform: &str) -> Lowered {
        let mut options = PlanOptions::new(platform.parse().unwrap());
        options.build_platform = "linux/amd64".parse().unwrap();
        options.multi_platform = true;
        let plan = Plan::new(Dockerfile::parse_all(text).unwrap(), options).unwrap();
        let missing = plan.missing_bases(&Bases::new()).unwrap();
        let bases = missing.into_iter().map(|base| {
            let mut config = ImageConfig { os: "linux".into(), ..ImageConfig::default() };
            config.rootfs.diff_ids = vec![Digest::of(base.platform.as_bytes())];
            (base, ResolvedBase { reference: "tools".parse().unwrap(), manifest: None, config })
        });
        plan.lower(&bases.collect()).unwrap()
    }

    fn names(definition: &Definition) -> Vec<&str> {
        definition.iter().map(|(_, vertex)| vertex.meta.name.as_str()).collect()
    }

    #[test]
    fn platforms_are_built_once_each() {
        let platforms = |list: &[&str]| -> Vec<String> {
            let asked: Vec<Platform> = list.iter().map(|text| text.parse().unwrap()).collect();
            distinct(&asked).iter().map(Platform::to_string).collect()
        };
        assert_eq!(platforms(&[]), [Platform::host().to_string()]);
        let spelt = ["arm64", "linux/amd64", "linux/arm64/v8", "linux/x86_64", "aarch64", "linux/arm/v7", "linux/arm"];
        assert_eq!(platforms(&spelt), ["linux/arm64", "linux/amd64", "linux/arm/v7"]);
    }

    #[test]
    fn a_stage_that_knows_the_target_says_so() {
        let text = "FROM --platform=$BUILDPLATFORM tools\nARG TARGETARCH\nRUN [\"/make\"]\n";
        let name = |platform: &str| {
            let lowered = lowered(text, platform);
            lowered.definition.vertex(lowered.target.unwrap()).meta.name.clone()
        };
        assert_eq!(name("linux/amd64"), "[linux/amd64 2/2] RUN [\"/make\"]");
        assert_eq!(name("linux/arm64"), "[linux/amd64->arm64 2/2] RUN [\"/make\"]");
        assert_eq!(name("linux/arm/v6"), "[linux/amd64->arm/v7 2/2] RUN [\"/make\"]");
    }

    #[test]
    fn a_stage_of_the_build_platform_is_there_once() {
        let text = "FROM --platform=$BUILDPLATFORM tools AS tools\nRUN [\"/make\"]\n\
                    FROM scratch\nCOPY --from=tools /made /made\nRUN [\"/made\"]\n";
        let platforms = ["linux/amd64", "linux/arm64"].map(|platform| lowered(text, platform));
        let (definition, targets) = joined(&platforms).unwrap();
        let shared = "[linux/amd64 tools 2/2] RUN [\"/make\"]";
        assert_eq!(names(&definition).iter().filter(|name| **name == shared).count(), 1, "{:?}", names(&definition));
        assert_eq!(names(&definition).len(), 6, "{:?}", names(&definition));
        let [Some(amd64), Some(arm64)] = targets[..] else { panic!("{targets:?}") };
        assert_eq!(definition.vertex(amd64).meta.name, "[linux/amd64 stage-1 2/2] RUN [\"/made\"]");
        assert_eq!(definition.vertex(arm64).meta.name, "[linux/arm64 stage-1 2/2] RUN [\"/made\"]");
        assert_ne!(definition.op_digest(amd64), definition.op_digest(arm64));
    }
}
