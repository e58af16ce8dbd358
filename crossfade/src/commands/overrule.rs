//! `crossfade override …`: the emergency override at a front's own listener. It needs neither comparator nor log.

use crate::cli::{Output, OverrideArgs, OverrideTo};
use crate::client::{Exit, Part, Parts};
use crate::render;
use wire::control::{OverrideView, Reason};

/// Sets the override, takes it back, or shows it.
pub async fn run(parts: &Parts, args: OverrideArgs, output: Output) -> anyhow::Result<Exit> {
    // The command line asks for one where it is needed; a blank one is refused by the front.
    let reason = Reason { reason: args.reason.unwrap_or_default() };
    let view: OverrideView = match args.to {
        OverrideTo::Nothing => parts.post(Part::Front, "/override", &reason).await?,
        OverrideTo::Off => parts.delete(Part::Front, "/override", &reason).await?,
        OverrideTo::Show => parts.get(Part::Front, "/override").await?,
    };
    render::show(output, &view, page)?;
    Ok(Exit::Done)
}

fn page(view: &OverrideView) -> String {
    let current = view.current.as_ref().map_or("none".to_owned(), |current| {
        format!("everything to the legacy since {}: {}", current.since, current.reason)
    });
    let mut page = render::facts([
        ("override", current),
        ("this front goes by", format!("{} at {} %", view.setting.stage, view.setting.percent)),
        ("version last heard", view.version.to_string()),
        ("under way", view.preparing.map_or("nothing".to_owned(), |to| format!("to {} at {} %", to.stage, to.percent))),
    ]);
    page.push_str("\nNext:\n");
    for step in &view.next_steps {
        page.push_str(&format!("  {step}\n"));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::client::Failure;
    use clap::Parser as _;
    use host::task::Shutdown;
    use std::net::SocketAddr;
    use std::path::Path;

    /// A configuration whose front can be reached, and nothing else of which is there.
    fn written(folder: &Path, admin: SocketAddr) -> String {
        let nobody = "127.0.0.1:9";
        let path = folder.join("crossfade.toml");
        let secret = |name: &str| {
            let path = folder.join(name);
            std::fs::write(&path, name).unwrap();
            format!("{{ file = \"{}\" }}", path.display())
        };
        let (service, admin_token) = (secret("service"), secret("admin"));
        let text = format!(
            "ledger = \"test\"\n[front]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"{admin}\"\n\
             data_dir = \"{}\"\nlegacy = \"http://{nobody}\"\nengine = \"http://{nobody}\"\n\
             comparator = \"http://{nobody}\"\nrelay = \"http://{nobody}\"\ningest = \"{nobody}\"\n\
             service_token = {service}\nadmin_token = {admin_token}\n",
            folder.join("front").display()
        );
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    async fn asked(config: &str, arguments: &[&str]) -> anyhow::Result<Exit> {
        let cli = Cli::try_parse_from([&["crossfade", "override"], arguments, &["--config", config]].concat())?;
        let Command::Override(args) = cli.command else { panic!("another command") };
        let parts = Parts::new(&cli.global)?.with_front(args.front.clone());
        run(&parts, args, cli.global.output).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_front_is_overruled_and_let_go_with_nobody_else_there() {
        let folder = tempfile::tempdir().unwrap();
        // The port is only known once it is bound: the file that starts the front leaves it open.
        let any = written(folder.path(), "127.0.0.1:0".parse().unwrap());
        let global = Cli::try_parse_from(["crossfade", "status", "--config", &any]).unwrap().global;
        let file = crate::config::load(&global).unwrap();
        let front = proxy::front::bind(file.front.unwrap(), &file.ledger).await.unwrap();
        let (admin, shutdown) = (front.admin_address(), Shutdown::new());
        let running = tokio::spawn(front.run(shutdown.clone()));
        let config = written(folder.path(), admin);
        let parts = Parts::new(&Cli::try_parse_from(["crossfade", "status", "--config", &config]).unwrap().global);
        let parts = parts.unwrap();
        let current = async || {
            let view: OverrideView = parts.get(Part::Front, "/override").await.unwrap();
            view.current.map(|current| current.reason)
        };
        assert_eq!(asked(&config, &["show"]).await.unwrap(), Exit::Done);
        assert_eq!(asked(&config, &["0", "--reason", "the engine burns"]).await.unwrap(), Exit::Done);
        assert_eq!(current().await.as_deref(), Some("the engine burns"));
        for wrong in [&["0"][..], &["off"], &["50", "--reason", "x"], &[]] {
            assert!(asked(&config, wrong).await.is_err(), "{wrong:?}");
        }
        let elsewhere = ["show", "--front", "http://127.0.0.1:9"];
        assert!(asked(&config, &elsewhere).await.is_err(), "the flag goes before the file");
        let blank = asked(&config, &["off", "--reason", ""]).await.unwrap_err();
        assert_eq!(blank.downcast::<Failure>().unwrap().exit, Exit::Usage);
        assert_eq!(asked(&config, &["off", "--reason", "it was put out"]).await.unwrap(), Exit::Done);
        assert_eq!(current().await, None);
        shutdown.stop();
        running.await.unwrap().unwrap();
    }

    #[test]
    fn the_page_says_what_is_in_force() {
        use wire::control::FrontOverride;
        use wire::rollout::Setting;
        use wire::scalar::{Percent, Timestamp};
        use wire::words::Stage;
        let current = Some(FrontOverride { reason: "the engine burns".into(), since: Timestamp(0) });
        let setting = Setting { stage: Stage::Shadow, percent: Percent::NONE };
        let view = OverrideView { current, version: 7, setting, preparing: None, next_steps: vec!["go on".into()] };
        let page = page(&view);
        for said in ["everything to the legacy since 1970", "the engine burns", "shadow at 0 %", "7", "go on"] {
            assert!(page.contains(said), "{said}: {page}");
        }
    }
}
