//! Nothing leads out of the directory.

use super::*;

#[test]
fn nothing_leads_out_of_the_directory() {
    let ground = Ground::new();
    ground.usual();
    let outside = ground.temp.path().join("outside");
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("secret"), "keep").expect("written");
    symlink(&outside, ground.app().join("way")).expect("a link");
    symlink(outside.join("secret"), ground.app().join("direct")).expect("a link");
    let refused = |at: &str| {
        let order = ground.order("k", vec![write("manifest", "x"), write(at, "evil")]);
        let error = ground.store.update(order).expect_err("refused");
        assert_eq!(error.code(), "RD0974", "{at}: {error}");
        assert_eq!(tree(&ground.app())["manifest"], "a = 1\n", "{at}");
        assert_eq!(tree(&outside).len(), 1, "{at}");
        assert_eq!(tree(&outside)["secret"], "keep", "{at}");
    };
    refused("way/secret");
    refused("way/new");
    refused("direct");
    refused("vendor");
    refused("manifest/below");
    // The directory itself may not be a link either.
    symlink(ground.app(), ground.temp.path().join("root/alias")).expect("a link");
    let mut order = ground.update("k");
    order.place.directory = path("alias");
    let error = ground.store.update(order).expect_err("refused");
    assert_eq!(error.code(), "RD0974", "{error}");
}

#[test]
fn a_pipe_or_a_socket_is_refused_without_waiting_for_it() {
    let ground = Ground::new();
    ground.usual();
    let pipe = std::os::unix::net::UnixListener::bind(ground.app().join("sock")).expect("bound");
    let error = ground
        .store
        .update(ground.update("k"))
        .expect_err("refused");
    assert_eq!(error.code(), "RD0974", "{error}");
    assert!(
        error.to_string().contains("app/sock is a socket"),
        "{error}"
    );
    // Left out, it is nobody's business.
    let mut order = ground.update("k");
    order.exclude.push(path("sock"));
    ground.store.update(order).expect("updated");
    drop(pipe);
}

#[test]
fn another_hard_link_keeps_its_content() {
    let ground = Ground::new();
    ground.usual();
    let other = ground.temp.path().join("other");
    fs::hard_link(ground.app().join("manifest"), &other).expect("linked");
    let (_, done) = ground.store.update(ground.update("k")).expect("updated");
    assert_eq!(fs::read_to_string(&other).expect("read"), "a = 1\n");
    assert_eq!(fs::metadata(&other).expect("there").nlink(), 1);
    ground.store.undo(&ground.place(), &done).expect("undone");
    fs::write(&other, "changed by its other name").expect("written");
    assert_eq!(tree(&ground.app())["manifest"], "a = 1\n");
}
