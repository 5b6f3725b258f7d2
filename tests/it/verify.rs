//! `tidemill verify` over the tables of the main job: clean as they were written, and each kind of damage is
//! named.

use crate::harness::{Pair, Run, Tidemill, stage, wait_for_tables};

#[test]
fn tables_of_real_events_agree_with_them_and_damage_is_named() {
    let Some(stage) = stage("verify") else {
        return;
    };
    for (at, pair) in stage.pairs.iter().enumerate() {
        let run = Run::new(pair, &stage.bootstrap, stage.server(at).1);
        run.replay(&pair.events, 4);
        let mut members = [run.member("member-0"), run.member("member-1")];
        wait_for_tables(&run, pair, &mut members);
        let mut verify = run.verify(&[]);
        verify.succeed();
        let said = verify.log();
        assert!(said.contains("events were processed again"), "{said}");
        assert!(said.contains("all as the events say"), "{said}");
        assert!(!said.contains("not as the events say"), "{said}");
        members.iter_mut().for_each(Tidemill::stop);
        if pair.is_recentchange() {
            damage_is_named(&run, pair);
        }
    }
}

fn damage_is_named(run: &Run, pair: &Pair) {
    let count = |table: &str| {
        run.database
            .number(&format!("SELECT COUNT(*) FROM {table}"))
    };
    if count("edits_per_wiki_minute") < Some(3) || count("edits_per_user_5m") < Some(1) {
        return;
    }
    let first = "ORDER BY window_start, wiki LIMIT 1";
    let last = "ORDER BY window_start DESC, wiki DESC LIMIT 1";
    let damage = [
        format!("UPDATE edits_per_wiki_minute SET events = events + 7 {first}"),
        format!("DELETE FROM edits_per_wiki_minute {last}"),
        "INSERT INTO edits_per_user_5m (wiki, user, window_start, window_end, edits, net_bytes) \
         SELECT 'nowiki', 'Nobody', window_start, window_end, 1, 1 \
         FROM (SELECT window_start, window_end FROM edits_per_user_5m LIMIT 1) AS one"
            .to_owned(),
    ];
    damage
        .iter()
        .for_each(|statement| run.database.run(statement));
    let said = run.verify(&[]).fails();
    let name = &pair.name;
    assert!(
        said.contains("2 are not as the events say"),
        "{name}: {said}"
    );
    assert!(
        said.contains("1 are not as the events say"),
        "{name}: {said}"
    );
    assert!(said.contains("events, and no row"), "{name}: {said}");
    assert!(
        said.contains("wiki=nowiki user=Nobody: a row, and no events"),
        "{name}: {said}"
    );
    let of_one = run
        .verify(&["--table", "edits_per_user_5m", "--format", "json"])
        .fails();
    assert!(of_one.contains(r#""differing": 1"#), "{name}: {of_one}");
    assert!(
        !of_one.contains("edits_per_wiki_minute"),
        "{name}: {of_one}"
    );
}
