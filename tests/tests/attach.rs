//! Tests of attaching and detaching: the modes that are tried after a refusal, and that nothing remains.

use std::ffi::CStr;

use anyhow::{Context, Result, ensure};
use flowml_common::time::Boundaries;
use flowml_tests::hooks::Hooks;
use flowml_tests::lab::{Interface, LinkOptions};
use flowml_tests::metered::Account;
use flowml_tests::program::{embedded, kernel_table, require_kernel};
use flowml_tests::traffic::raw::{FlowSpray, FrameSender, Rate};
use flowml_user::capture::CaptureError;
use flowml_user::capture::attach::{Attachment, Mode, TcHook, Wanted, attach_by};
use flowml_user::capture::interface::Interfaces;
use flowml_user::capture::kernel::KernelTable;
use flowml_user::process::capabilities::CapabilitySet;

/// Attaches the programs of a table to an interface of the laboratory.
fn attach(
    table: &mut KernelTable,
    interface: &Interface,
    wanted: Wanted,
    egress: bool,
    hook: TcHook,
) -> Result<Result<Attachment, CaptureError>> {
    interface.host.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("starting tokio")?;
        let found = runtime.block_on(async { Interfaces::read().await?.named(&interface.name) })?;
        Ok(attach_by(&mut table.programs, found, wanted, egress, hook))
    })?
}

/// The bytes of a section in an ELF64 file (elf(5)).
fn section<'a>(object: &'a mut [u8], name: &CStr) -> Result<&'a mut [u8]> {
    let number = |at: usize, bytes: usize| {
        let field = object.get(at..at + bytes).context("cut off")?;
        anyhow::Ok(field.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    let (table, each, count, names) = (number(0x28, 8)?, number(0x3a, 2)?, number(0x3c, 2)?, number(0x3e, 2)?);
    let place = |n: usize| anyhow::Ok((number(table + n * each + 0x18, 8)?, number(table + n * each + 0x20, 8)?));
    let strings = place(names)?.0;
    for n in 0..count {
        let at = strings + number(table + n * each, 4)?;
        let (from, length) = place(n)?;
        if object.get(at..).is_some_and(|text| text.starts_with(name.to_bytes_with_nul())) {
            return object.get_mut(from..from + length).context("a section beyond the end");
        }
    }
    anyhow::bail!("the object has no section {name:?}")
}

/// `r0 = r9`, although r9 is not initialised.
const UNSET: [u8; 8] = [0xbf, 0x90, 0, 0, 0, 0, 0, 0];

/// The kernel object with programs that the verifier refuses: their first instruction is [`UNSET`].
fn refused(sections: &[&CStr]) -> Result<Vec<u8>> {
    let mut object = embedded()?.to_vec();
    for name in sections {
        section(&mut object, name)?[..8].copy_from_slice(&UNSET);
    }
    Ok(object)
}

#[test]
fn auto_tries_the_next_mode_if_the_verifier_refuses_a_program() -> Result<()> {
    let Some(lab) = require_kernel() else { return Ok(()) };
    let [peer, metered] = lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())?;
    let no_frags: &[&CStr] = &[c"xdp.frags"];
    let no_xdp: &[&CStr] = &[c"xdp.frags", c"xdp"];
    for (sections, mode) in [(no_frags, Mode::Native), (no_xdp, Mode::Tc)] {
        let mut account =
            Account::new(KernelTable::load(&refused(sections)?, Some(64), None, None, Boundaries::default(), None)?);
        let attached = attach(account.table(), &metered, Wanted::Auto, false, TcHook::of_kernel())??;
        assert_eq!(attached.mode, mode);
        let reasons = &attached.refused;
        match mode {
            Mode::Tc => assert!(reasons.len() == 1 && reasons[0].contains("R9 !read_ok"), "{reasons:?}"),
            _ => assert!(reasons.is_empty(), "{reasons:?}"),
        }
        assert!(reasons.iter().all(|reason| reason.lines().count() == 1), "{reasons:?}");
        let sent = FrameSender::open(&peer)?.spray(&FlowSpray::unanswered(&metered, 10, 100), Rate::Full)?;
        account.settle(sent, |_| {})?;
        // A filter of clsact is taken away by netlink, in the namespace of the interface.
        metered.host.enter(|| drop(attached))?;
        assert_eq!(Hooks::of(&metered)?, Hooks::default());
    }
    // A user who requests native XDP gets the reason of the failure.
    let mut table = KernelTable::load(&refused(no_xdp)?, Some(64), None, None, Boundaries::default(), None)?;
    let outcome = attach(&mut table, &metered, Wanted::Only(Mode::Native), false, TcHook::of_kernel())?;
    let error = outcome.err().context("a program that the verifier refuses was attached")?;
    ensure!(matches!(error, CaptureError::Program { .. }), "{error}");
    ensure!(error.to_string().contains("R9 !read_ok"), "{error}");
    assert_eq!(Hooks::of(&metered)?, Hooks::default());
    Ok(())
}

/// Whether the interface has clsact.
fn has_clsact(interface: &Interface) -> Result<bool> {
    Ok(interface.host.run_ok(["tc", "qdisc", "show", "dev", &interface.name])?.contains("clsact"))
}

fn tc(interface: &Interface, arguments: &[&str]) -> Result<()> {
    let [object, verb, rest @ ..] = arguments else { anyhow::bail!("tc {arguments:?}") };
    let command = [&["tc", object, verb, "dev", &interface.name], rest].concat();
    interface.host.run_ok(command).map(drop)
}

#[test]
fn clsact_is_removed_with_the_programs_that_it_was_added_for() -> Result<()> {
    let Some(lab) = require_kernel() else { return Ok(()) };
    let [peer, metered] = lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())?;
    for mode in [Mode::Tc, Mode::Generic] {
        for egress in [false, true] {
            let mut account = Account::new(kernel_table(Some(64), None)?);
            let mut begin = || -> Result<Attachment> {
                Ok(attach(account.table(), &metered, Wanted::Only(mode), egress, TcHook::Clsact)??)
            };
            let end = |attachment: Attachment| metered.host.enter(|| drop(attachment));
            let uses_tc = mode == Mode::Tc || egress;

            let attached = begin()?;
            assert_eq!(has_clsact(&metered)?, uses_tc);
            assert_eq!(attached.needs(), if uses_tc { CapabilitySet::NET_ADMIN } else { CapabilitySet::empty() });
            let hooks = Hooks { xdp: mode != Mode::Tc, tc_ingress: mode == Mode::Tc, tc_egress: egress };
            assert_eq!(Hooks::of(&metered)?, hooks);
            end(attached)?;
            assert!(!has_clsact(&metered)?, "{mode}, egress {egress}: clsact was left behind");

            // A filter of another program, added meanwhile, keeps clsact.
            if uses_tc {
                let attached = begin()?;
                let mut others = kernel_table(Some(64), None)?;
                let foreign = attach(&mut others, &metered, Wanted::Only(Mode::Tc), false, TcHook::Clsact)??;
                end(attached)?;
                assert!(has_clsact(&metered)?, "{mode}, egress {egress}: clsact was removed although in use");
                assert_eq!(Hooks::of(&metered)?, Hooks { tc_ingress: true, ..Hooks::default() });
                end(foreign)?;
                tc(&metered, &["qdisc", "del", "clsact"])?;
            }

            // clsact that existed before is kept too.
            tc(&metered, &["qdisc", "add", "clsact"])?;
            let attached = begin()?;
            assert_eq!(Hooks::of(&metered)?, hooks);
            end(attached)?;
            assert!(has_clsact(&metered)?, "{mode}, egress {egress}: clsact of another program was removed");
            tc(&metered, &["qdisc", "del", "clsact"])?;
        }
    }
    // Classic tc counts the same as TCX.
    let mut account = Account::new(kernel_table(Some(64), None)?);
    let attached = attach(account.table(), &metered, Wanted::Only(Mode::Tc), true, TcHook::Clsact)??;
    let sent = FrameSender::open(&peer)?.spray(&FlowSpray::unanswered(&metered, 10, 1000), Rate::Full)?;
    account.settle(sent, |_| {})?;
    metered.host.enter(|| drop(attached))
}

#[test]
fn clsact_is_removed_if_attaching_fails_half_way() -> Result<()> {
    let Some(lab) = require_kernel() else { return Ok(()) };
    let [_, metered] = lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())?;
    let mut table = kernel_table(Some(64), None)?;
    metered.host.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let mut found = runtime.block_on(async { Interfaces::read().await?.named(&metered.name) })?;
        // The interface's name is used for clsact and filters, and its index for attaching. No interface has this
        // index.
        found.index += 1000;
        let attached = attach_by(&mut table.programs, found, Wanted::Only(Mode::Native), true, TcHook::Clsact);
        ensure!(attached.is_err(), "{attached:?}");
        anyhow::Ok(())
    })??;
    assert!(!has_clsact(&metered)?);
    assert_eq!(Hooks::of(&metered)?, Hooks::default());
    Ok(())
}
