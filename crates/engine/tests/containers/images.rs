//! Images as users manage them.

use kiln_engine::{Error, Origin, Removed};

use crate::Case;
use crate::bench::{Bench, make_image, options};

pub(crate) const CASES: &[Case] = &[
    ("images_are_found_by_name_and_id", images_are_found_by_name_and_id),
    ("names_are_given_and_taken_away", names_are_given_and_taken_away),
    ("an_image_that_a_container_uses_stays", an_image_that_a_container_uses_stays),
    ("an_id_of_several_repositories_needs_force", an_id_of_several_repositories_needs_force),
    ("images_are_listed_and_shown", images_are_listed_and_shown),
];

fn images_are_found_by_name_and_id(bench: &Bench) {
    let id = bench.image.to_string();
    let hex = id.strip_prefix("sha256:").unwrap();
    for name in ["box", "box:latest", "docker.io/library/box", &id, hex, &hex[..12]] {
        assert_eq!(bench.engine.find_image(name).unwrap().id, bench.image, "{name}");
    }
    let error = |name: &str| bench.engine.find_image(name).unwrap_err().to_string();
    assert_eq!(error("my/one:1"), "No such image: my/one:1");
    assert_eq!(error("nosuch"), "No such image: nosuch:latest");
}

fn names_are_given_and_taken_away(bench: &Bench) {
    bench.engine.tag("box:latest", "my/one:1").unwrap();
    let removed = bench.engine.remove_image("my/one:1", false).unwrap();
    assert_eq!(removed, [Removed::Untagged("my/one:1".into())]);
    assert_eq!(bench.engine.remove_image("my/one:1", false).unwrap_err().to_string(), "No such image: my/one:1");
    assert_eq!(bench.engine.tag("nosuch", "x").unwrap_err().to_string(), "No such image: nosuch:latest");
    let error = bench.engine.tag("box", "Bad:Tag").unwrap_err();
    assert_eq!(error.origin(), Origin::Client);
    let expected = "Error parsing reference: \"Bad:Tag\" is not a valid repository/tag: invalid reference format: \
        repository name (library/Bad) must be lowercase";
    assert_eq!(error.to_string(), expected);
    let layers = || std::fs::read_dir(bench.engine.store().root().join("layers")).unwrap().count();
    // Who made the layer needs it no longer.
    bench.engine.store().leases().release().unwrap();
    assert_eq!(layers(), 1);
    let removed = bench.engine.remove_image("box", false).unwrap();
    assert_eq!(layers(), 0);
    assert_eq!(removed, [Removed::Untagged("box:latest".into()), Removed::Deleted(bench.image.clone())]);
    assert!(bench.engine.images().unwrap().is_empty());
}

fn an_image_that_a_container_uses_stays(bench: &Bench) {
    let container = bench.engine.create(&options(&["true"])).unwrap();
    let image = &bench.image.to_string()[7..19];
    let expected = format!(
        "conflict: unable to delete box:latest (must be forced) - container {} is using its referenced image {image}",
        container.short_id()
    );
    assert_eq!(bench.engine.remove_image("box", false).unwrap_err().to_string(), expected);
    bench.engine.remove_image("box", true).unwrap();
    // The container keeps its layers.
    assert_eq!(bench.start(&container.id).unwrap().code, 0);
}

fn an_id_of_several_repositories_needs_force(bench: &Bench) {
    bench.engine.tag("box", "other").unwrap();
    let id = bench.image.to_string();
    assert!(matches!(bench.engine.remove_image(&id, false), Err(Error::SeveralRepositories(_))));
    let removed = bench.engine.remove_image(&id, true).unwrap();
    assert_eq!(removed.len(), 3);
}

fn images_are_listed_and_shown(bench: &Bench) {
    make_image(bench.engine.store(), "second:1", "true");
    let images = bench.engine.images().unwrap();
    let mut tags: Vec<_> = images.iter().flat_map(|image| image.tags.clone()).collect();
    tags.sort();
    assert_eq!(tags, ["box:latest", "second:1"]);
    assert!(images.iter().all(|image| image.size > 100_000 && image.created == Some(1_704_164_645)));
    let history = bench.engine.history("box", None).unwrap();
    assert_eq!(history[0].id, Some(bench.image.to_string()));
    assert_eq!((history[0].created_by.as_str(), history[0].size, &history[1].id), ("CMD sh", 0, &None));
    assert_eq!(history[1].size, images[0].size);
    let shown = bench.engine.inspect_image("box", None).unwrap();
    assert_eq!((&shown["Os"], &shown["Architecture"]), (&"linux".into(), &"amd64".into()));
    assert_eq!(shown["Config"]["Cmd"], serde_json::json!(["sh"]));
    assert_eq!(shown["RepoTags"], serde_json::json!(["box:latest"]));
    assert_eq!(bench.engine.inspect("box").unwrap()["Id"], shown["Id"]);
    assert_eq!(bench.engine.inspect("nosuch").unwrap_err().to_string(), "No such object: nosuch");
}
