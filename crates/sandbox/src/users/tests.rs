//! The rules, case by case, and hostile account files.

use proptest::prelude::*;

use super::*;

const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# comment\n\nkiln:x:1234:2345::/home/kiln:/bin/sh\nother:x:1300:1301::rel:\nbroken:x:abc:1::\nshort\n";
const GROUP: &[u8] =
    b"root:x:0:\nwheel:x:10:root\nstaff:x:50:kiln,other\nkiln:x:2345:kiln\naudio:x:63: kiln \nbad:x:-1:kiln\n";

fn accounts() -> Accounts<'static> {
    Accounts { passwd: Some(PASSWD), group: Some(GROUP) }
}

fn check_running(user: &str, want: Result<(u32, u32, &[u32], &str), &str>) {
    let got = running(user, accounts());
    let got = got.as_ref().map(|i| (i.uid, i.gid, i.additional_gids.as_slice(), i.home.as_str()));
    assert_eq!(got.map_err(|error| error.to_string()), want.map_err(String::from), "{user:?}");
}

#[test]
fn a_process_runs_as_docker_would_have_it() {
    check_running("", Ok((0, 0, &[0, 10], "/root")));
    check_running("root", Ok((0, 0, &[0, 10], "/root")));
    check_running("kiln", Ok((1234, 2345, &[2345, 50, 63], "/home/kiln")));
    check_running("1234", Ok((1234, 2345, &[2345, 50, 63], "/home/kiln")));
    check_running("kiln:staff", Ok((1234, 50, &[50], "/home/kiln")));
    check_running("kiln:99", Ok((1234, 99, &[99], "/home/kiln")));
    check_running("other", Ok((1300, 1301, &[1301, 50], "/")));
    check_running("65534", Ok((65534, 0, &[0], "/")));
    check_running("65534:7", Ok((65534, 7, &[7], "/")));
    check_running(":50", Ok((0, 50, &[50], "/root")));
    check_running("nobodyhere", Err("unable to find user nobodyhere: no matching entries in passwd file"));
    check_running("kiln:nogroup", Err("unable to find group nogroup: no matching entries in group file"));
    check_running("2147483648", Err("uids and gids must be in range 0-2147483647, not 2147483648"));
    check_running("-1", Err("unable to find user -1: no matching entries in passwd file"));
}

#[test]
fn without_account_files_only_numbers_and_root_are_somebody() {
    assert_eq!(running("", Accounts::default()), Ok(Identity::root()));
    assert_eq!(running("5:6", Accounts::default()).map(|i| (i.uid, i.gid)), Ok((5, 6)));
    assert_eq!(running("a", Accounts::default()), Err(UserError::UnknownUser("a".into())));
}

#[test]
fn a_copy_belongs_to_whom_buildkit_says() {
    let check = |chown: &str, uid, gid| assert_eq!(owning(chown, accounts()), Ok(Owner { uid, gid }), "{chown}");
    check("kiln", 1234, 2345);
    check("kiln:staff", 1234, 50);
    check("other", 1300, 1301);
    check("77", 77, 77);
    check("77:88", 77, 88);
    check("kiln:99", 1234, 99);
    check("0:kiln", 0, 2345);
    check(":staff", 0, 50);
    check("nosuchuser", 0, 0);
    check("nosuchuser:6", 0, 6);
    check("5:nosuchgroup", 5, 5);
    check("05:0x6", 5, 5);
    check("2147483647", 2_147_483_647, 2_147_483_647);
    check("2147483648:7", 0, 7);
    check("-5", 4_294_967_291, 4_294_967_291);
    check("5:-1", 5, 0);
}

#[test]
fn a_name_on_scratch_fails_and_a_number_does_not() {
    assert_eq!(owning("1:2", Accounts::default()), Ok(Owner { uid: 1, gid: 2 }));
    let error = owning("kiln", Accounts::default()).unwrap_err();
    assert!(error.to_string().starts_with("invalid user index: -1"));
}

proptest! {
    #[test]
    fn hostile_files_never_panic_and_never_give_more_than_they_say(
        passwd in proptest::collection::vec(any::<u8>(), 0..400),
        group in proptest::collection::vec(any::<u8>(), 0..400),
        user in "[a-z0-9:]{0,8}",
    ) {
        let accounts = Accounts { passwd: Some(&passwd), group: Some(&group) };
        if let Ok(identity) = running(&user, accounts) {
            prop_assert!(identity.home.starts_with('/'));
            prop_assert_eq!(identity.additional_gids.first(), Some(&identity.gid));
        }
        let _ = owning(&user, accounts);
    }

    #[test]
    fn every_written_entry_is_found_by_name_and_by_number(
        entries in proptest::collection::btree_map("[a-z][a-z0-9_-]{0,8}", 1..100_000_u32, 1..20),
        pick in any::<prop::sample::Index>(),
    ) {
        let mut used = std::collections::BTreeSet::new();
        let entries: Vec<_> = entries.into_iter().filter(|(_, uid)| used.insert(*uid)).collect();
        let passwd: String = entries.iter().map(|(name, uid)| format!("{name}:x:{uid}:{}::/h/{name}:/bin/sh\n", uid + 1)).collect();
        let accounts = Accounts { passwd: Some(passwd.as_bytes()), group: None };
        let (name, uid) = pick.get(&entries);
        let by_name = running(name, accounts).unwrap();
        prop_assert_eq!(&by_name, &running(&uid.to_string(), accounts).unwrap());
        prop_assert_eq!((by_name.uid, by_name.gid, by_name.home), (*uid, uid + 1, format!("/h/{name}")));
    }
}
