//! One ephemeral server for several programs.

use super::{Program, Scratch, eventually, runs, server_pid, sql};

#[test]
fn several_programs_use_one_server_until_the_last_has_gone() {
    let tmp = Scratch::new();
    let mut programs: Vec<Program> =
        (0..4).map(|_| Program::new("shared:several", "drop", &tmp, |_| {})).collect();
    let ready: Vec<_> = programs.iter_mut().map(|program| program.ready().unwrap()).collect();
    assert!(ready.iter().all(|one| one.url == ready[0].url));
    let pid = server_pid(&ready[0].dir);
    while let Some(program) = programs.pop() {
        assert_eq!(sql(&ready[0].url, "SELECT 1").unwrap(), ["1"]);
        assert_eq!(server_pid(&ready[0].dir), pid);
        if programs.len().is_multiple_of(2) {
            program.kill();
        } else {
            assert!(program.end().success());
        }
    }
    eventually("nothing is left", || tmp.entries().is_empty());
    eventually("the server has ended", || !runs(pid));
}

#[test]
fn programs_that_come_and_go_always_find_one() {
    let tmp = Scratch::new();
    let threads: Vec<_> = (0..3)
        .map(|worker| {
            let tmp = Scratch(tmp.0.clone());
            std::thread::spawn(move || {
                // Only the test's own handle removes the directory.
                let tmp = std::mem::ManuallyDrop::new(tmp);
                for round in 0..4 {
                    let mut program = Program::new("shared:rounds", "drop", &tmp, |_| {});
                    let ready = program.ready().unwrap();
                    assert_eq!(sql(&ready.url, "SELECT 1").unwrap(), ["1"]);
                    if (round + worker) % 2 == 0 {
                        program.kill();
                    } else {
                        assert!(program.end().success());
                    }
                    // Around the time that the server lingers, so that some meet it going down.
                    super::pause(std::time::Duration::from_millis(1_700 + 150 * round));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    eventually("nothing is left", || tmp.entries().is_empty());
}
