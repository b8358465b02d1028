//! `tune` tells what the controller of concurrency and batch size is worth, before it writes to a database.

use serde_json::Value;

use crate::config::millstream;

#[test]
fn the_controller_is_compared_with_the_best_setting_and_with_others() {
    let directory = tempfile::tempdir().unwrap();
    let tune = |more: &[&str]| {
        let arguments = [&["tune", "--simulate", "--seeds", "1", "--plant", "hard_knee"], more].concat();
        millstream(directory.path(), &[], &arguments)
    };
    let ran = tune(&["--json"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let json = ran.json();
    let plants = json["plants"].as_array().unwrap();
    assert_eq!(plants.len(), 1);
    assert_eq!(plants[0]["name"], "hard_knee");
    let figure = |of: &Value, name: &str| of[name].as_f64().unwrap_or_else(|| panic!("{name} in {of:#}"));
    assert!(figure(&plants[0], "goodput_over_oracle") > 0.9, "{json:#}");
    assert!(figure(&plants[0], "mean_concurrency_over_oracle") < 2.0, "{json:#}");
    let competitors = plants[0]["competitors"].as_object().unwrap();
    let names: Vec<&str> = competitors.keys().map(String::as_str).collect();
    assert_eq!(names, ["netflix_aimd", "netflix_gradient2", "netflix_vegas", "sui_adaptive", "vector_arc"]);
    // Who adds one after each success, without ever being refused, takes all there is: twelve times what is enough.
    assert!(figure(&competitors["netflix_aimd"], "mean_concurrency_over_oracle") > 5.0, "{json:#}");

    let ran = tune(&[]);
    assert!(
        ran.code == 0 && ran.out.contains("geometric mean") && ran.out.contains("plants meet every target"),
        "{ran:#?}"
    );
    assert!(ran.err.contains("1 of 1: hard_knee"), "progress is told: {ran:#?}");
    // The same numbers each time.
    assert_eq!(ran.out, tune(&[]).out);

    let ran = millstream(directory.path(), &[], &["tune", "--simulate", "--plant", "nothing"]);
    assert!(ran.code == 1 && ran.err.contains("retrograde"), "{ran:#?}");
}
