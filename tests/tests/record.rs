//! The record of what the kernel answers, which judges where no kernel can be asked.
//!
//! Alone in its program: under the load of all scenarios at once the kernel tells late what became of a cable.
#![forbid(unsafe_code)]

use e2e::{Answers, Kernel, Skip, answer_dir, compare, insist, load_all, run, say, scenario_dir, skip};

/// Where the kernel can be asked, the recorded answers must still be its answers: they judge other machines.
#[test]
fn recorded_answers_are_the_kernels() {
    let kernel = match Kernel::probe() {
        Ok(kernel) => kernel,
        Err(why) => return skip("the recorded answers", &Skip::NothingToDo(why)),
    };
    for scenario in load_all(&scenario_dir()).expect("all parse") {
        let recorded = Answers::load(&answer_dir(), &scenario).expect("recorded");
        let version = kernel.version();
        if recorded.kernel != format!("{}.{}", version.0, version.1) {
            say(&format!(
                "RECORDED: {}: answers of kernel {} are not checked against kernel {}.{}",
                scenario.name, recorded.kernel, version.0, version.1
            ));
            continue;
        }
        insist(&format!("the record of {}", scenario.name), &scenario, || {
            let now = run(&scenario, None).expect("the kernel side starts");
            compare(&recorded.answers(), &now.answers)
        });
    }
}
