//! An uplink that has lost its disk gets its cluster back from the workers, which serve all the while.

use std::fs;
use std::path::Path;

use firn_tests::{Cluster, DEADLINE, Http, Raw, wait_until};
use firn_wire::ids::MapVersion;
use serde_json::Value;

const KEYS: usize = 200;

fn ask(cluster: &Cluster, path: &str) -> Value {
    Http::connect(cluster.uplink().http()).ask("GET", path, "", "").json()
}

fn version(cluster: &Cluster) -> MapVersion {
    ask(cluster, "/v1/cluster")["version"].as_str().expect("a version").parse().expect("a version")
}

fn tables(cluster: &Cluster) -> Vec<String> {
    let rows = ask(cluster, "/v1/tables");
    let rows = rows.as_array().expect("rows");
    rows.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
}

/// Three workers with tables and keys.
fn full_cluster() -> Cluster {
    let cluster = Cluster::builder(3).data().start();
    let mut winter = Raw::connect(cluster.worker(0).winter());
    for table in ["songs", "films"] {
        winter.expect(format!("CREATE {table}\n"), "created\n");
    }
    for number in 0..KEYS {
        winter.expect(format!("PUTNEW songs k{number} v{number}\n"), "ok\n");
    }
    cluster
}

fn all_keys_are_there(cluster: &Cluster) {
    for (number, worker) in (0..KEYS).zip(cluster.workers().iter().cycle()) {
        Raw::connect(worker.winter())
            .expect(format!("GET songs k{number}\n"), format!("v{number}\n"));
    }
}

/// The cluster as it was before its uplink lost everything: the same one, in a later generation, and it grows.
fn comes_back(cluster: &mut Cluster, before: &Value, tables_before: &[String]) {
    let was: Option<MapVersion> = before["version"].as_str().and_then(|text| text.parse().ok());
    let was = was.expect("a version");
    wait_until("the map comes back", DEADLINE, || {
        (version(cluster).generation == was.generation + 1).then_some(())
    });
    let after = ask(cluster, "/v1/cluster");
    assert_eq!((&after["cluster"], &after["settings"]), (&before["cluster"], &before["settings"]));
    assert_eq!(tables(cluster), tables_before);
    all_keys_are_there(cluster);
    wait_until("a table can be made", DEADLINE, || {
        let mut winter = Raw::connect(cluster.worker(1).winter());
        winter.send(b"CREATE afterwards\n");
        ["created\n", "already created\n"].contains(&winter.line().as_str()).then_some(())
    });
    let newcomer = cluster.add_worker();
    Raw::connect(newcomer.winter()).expect("PUTNEW afterwards k v\n", "ok\n");
    all_keys_are_there(cluster);
    wait_until("the cluster is well", DEADLINE, || {
        (ask(cluster, "/v1/cluster")["well"] == true).then_some(())
    });
}

#[test]
fn an_uplink_whose_folder_is_gone_is_told_the_map_by_its_workers() {
    let mut cluster = full_cluster();
    let (before, tables) = (ask(&cluster, "/v1/cluster"), tables(&cluster));
    cluster.uplink_mut().kill();
    fs::remove_dir_all(cluster.data_folder("uplink")).expect("the uplink's folder");
    all_keys_are_there(&cluster);
    cluster.uplink_mut().restart();
    comes_back(&mut cluster, &before, &tables);
    // What has come back is kept.
    let rebuilt = version(&cluster);
    cluster.uplink_mut().kill();
    cluster.uplink_mut().restart();
    assert!(version(&cluster) >= rebuilt);
    all_keys_are_there(&cluster);
}

/// Workers that keep nothing on disk tell the map they have in memory.
#[test]
fn workers_without_folders_tell_their_maps_too() {
    let mut cluster = Cluster::builder(2).start();
    let cluster_id = ask(&cluster, "/v1/cluster")["cluster"].clone();
    Raw::connect(cluster.worker(0).winter()).expect("PUTNEW default k v\n", "ok\n");
    cluster.uplink_mut().kill();
    cluster.uplink_mut().restart();
    wait_until("the map comes back", DEADLINE, || {
        (version(&cluster).generation == 2).then_some(())
    });
    assert_eq!(ask(&cluster, "/v1/cluster")["cluster"], cluster_id);
    Raw::connect(cluster.worker(1).winter()).expect("GET default k\n", "v\n");
}

#[test]
fn a_damaged_folder_is_set_aside_when_an_operator_says_so() {
    let mut cluster = full_cluster();
    let (before, tables) = (ask(&cluster, "/v1/cluster"), tables(&cluster));
    cluster.uplink_mut().kill();
    let folder = cluster.data_folder("uplink");
    damage(&folder.join("registry"));
    cluster.uplink_mut().restart_with("--rebuild");
    comes_back(&mut cluster, &before, &tables);

    let names = fs::read_dir(&folder).expect("the uplink's folder");
    let names = names.map(|entry| entry.expect("a folder reads").file_name());
    let aside = names.into_iter().find(|name| name.to_string_lossy().starts_with("set-aside-"));
    let aside = folder.join(aside.expect("what was stored is kept"));
    assert!(aside.join("registry").is_dir() && aside.join("stored").is_file());
    assert!(cluster.uplink().log().contains("what was stored is kept in"));
}

/// Overwrites every file of a database.
fn damage(folder: &Path) {
    for entry in fs::read_dir(folder).expect("the database") {
        let path = entry.expect("a folder reads").path();
        if path.is_file() {
            fs::write(&path, b"this is no database").expect("a file of the database");
        }
    }
}
