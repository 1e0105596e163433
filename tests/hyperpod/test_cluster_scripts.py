"""The scripts that nodes run: clean under shellcheck, and executed here with stand-ins for what needs a node."""

from __future__ import annotations

import os
import subprocess

import pytest
from cluster_compiling import base_configuration, files, options
from smtrain_hyperpod.cluster import lifecycle

USERS = {"users": {"ada": {"uid": 2001}, "bob": {"uid": 2002, "home": "/data/bob"}}}
MOUNTS = {
    "mounts": {
        "sets": {"uri": "s3://my-data/sets", "path": "/mnt/sets"},
        "out": {"uri": "s3://my-results", "path": "/mnt/out", "writable": True},
    }
}


@pytest.fixture
def base(tmp_path):
    return base_configuration(tmp_path)


def programs(folder, **bodies):
    """Makes programs that note how they were called, and then do as their bodies say."""
    folder.mkdir(exist_ok=True)
    for name, body in bodies.items():
        path = folder / name.replace("_", "-")
        path.write_text(f'#!/bin/bash\necho "${{0##*/}} $*" >>"$CALLS"\n{body}\n')
        path.chmod(0o755)
    return folder


def bash(text, folder, stand_ins, **environment):
    calls = folder / "calls"
    calls.touch()
    env = {"PATH": f"{stand_ins}:{os.environ['PATH']}", "CALLS": str(calls), **environment}
    done = subprocess.run(("bash", "-s"), input=text, env=env, cwd=folder, capture_output=True, text=True, check=False)
    return done, calls.read_text().splitlines()


@pytest.mark.needs_program("shellcheck")
def test_every_script_of_ours_is_clean_under_shellcheck(base, tmp_path):
    ours = {name: text for name, text in files(options(base, USERS, MOUNTS)).items() if name.startswith("smtrain_")}
    assert set(ours) == {"smtrain_on_create.sh", "smtrain_add_users.sh", "smtrain_mount_s3.sh"}
    for name, text in ours.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(("shellcheck", *sorted(ours)), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_base_configuration_alone_is_sent_as_it_is_but_for_the_parameters(base):
    found = lifecycle.scripts(options(base))
    assert found.entry == "on_create.sh"
    assert found.names == {"on_create.sh", "lifecycle_script.py", "utils/motd.sh", "provisioning_parameters.json"}
    assert "an example" not in files(options(base))["provisioning_parameters.json"]


def test_an_overlay_lies_over_the_base(base, tmp_path):
    (tmp_path / "mine" / "utils").mkdir(parents=True)
    (tmp_path / "mine" / "utils" / "motd.sh").write_text("#!/bin/bash\necho mine\n")
    (tmp_path / "mine" / "more.sh").write_text("#!/bin/bash\n")
    found = files(options(base, {"lifecycle": {"overlay": str(tmp_path / "mine")}}))
    assert "echo mine" in found["utils/motd.sh"]
    assert {"more.sh", "lifecycle_script.py"} <= set(found)


def test_users_go_to_the_base_s_own_file(base):
    found = lifecycle.scripts(options(base, USERS))
    assert found.entry == "on_create.sh"
    assert files(options(base, USERS))["shared_users.txt"] == "ada,2001,/home/ada\nbob,2002,/data/bob\n"


def test_homes_are_on_the_file_system_that_all_nodes_share(base):
    lustre = {"dns_name": "fs-0123456789abcdef0.fsx.us-west-2.amazonaws.com", "mount_name": "a"}
    shared = {"fsx": {"lustre": lustre}, "vpc": {"subnets": ["subnet-1"], "security_groups": ["sg-1"]}}
    assert files(options(base, USERS, shared))["shared_users.txt"].startswith("ada,2001,/fsx/ada\n")


def test_the_entry_runs_the_user_s_script_first_and_stops_where_one_fails(base, tmp_path):
    entry = files(options(base, MOUNTS))["smtrain_on_create.sh"]
    folder = tmp_path / "node"
    folder.mkdir()
    (folder / "smtrain_on_create.sh").write_text(entry)
    (folder / "on_create.sh").write_text("#!/bin/bash\necho theirs >>order\n")
    (folder / "smtrain_mount_s3.sh").write_text("#!/bin/bash\necho ours >>order\n")
    done = subprocess.run(("bash", str(folder / "smtrain_on_create.sh")), cwd="/", capture_output=True, check=False)
    assert (done.returncode, (folder / "order").read_text()) == (0, "theirs\nours\n")
    (folder / "on_create.sh").write_text("#!/bin/bash\nexit 7\n")
    done = subprocess.run(("bash", str(folder / "smtrain_on_create.sh")), cwd="/", capture_output=True, check=False)
    assert (done.returncode, (folder / "order").read_text()) == (7, "theirs\nours\n")


def test_without_a_base_the_entry_makes_the_users(tmp_path):
    found = lifecycle.scripts(options(None, USERS))
    assert found.entry == "smtrain_on_create.sh"
    assert "run ./smtrain_add_users.sh\n" in files(options(None, USERS))["smtrain_on_create.sh"]


def test_without_anything_to_run_nothing_is_sent():
    found = lifecycle.scripts(options(None))
    assert (found.files, found.entry, found.uri(options(None))) == ((), "", "")


def test_the_users_that_are_lacking_are_made(base, tmp_path):
    script = files(options(base, USERS))["smtrain_add_users.sh"]
    stand_ins = programs(tmp_path / "bin", id="[[ $3 == ada ]]", getent="exit 2", useradd="true", mkdir="true")
    done, calls = bash(script, tmp_path, stand_ins)
    assert done.returncode == 0, done.stderr
    assert "user ada is there already" in done.stdout
    made = [call for call in calls if call.startswith("useradd")]
    assert made == ["useradd --create-home --uid 2002 --home-dir /data/bob --shell /bin/bash -- bob"]


def test_a_uid_of_somebody_else_fails_the_node_and_says_whose_it_is(base, tmp_path):
    script = files(options(base, USERS))["smtrain_add_users.sh"]
    stand_ins = programs(tmp_path / "bin", id="exit 1", getent="echo carol:x:2001:", useradd="true", mkdir="true")
    done, calls = bash(script, tmp_path, stand_ins)
    assert done.returncode == 1
    assert "uid 2001 of user ada belongs to carol" in done.stderr
    assert not any(call.startswith("useradd") for call in calls)


def test_buckets_become_units_that_systemd_starts(base, tmp_path):
    script = files(options(base, MOUNTS))["smtrain_mount_s3.sh"]
    units = tmp_path / "units"
    units.mkdir()
    stand_ins = programs(tmp_path / "bin", mount_s3="true", systemctl="true", umount="true", mkdir="true")
    done, calls = bash(script, tmp_path, stand_ins, SMTRAIN_SYSTEMD_UNITS=str(units))
    assert done.returncode == 0, done.stderr
    sets = (units / "smtrain-mount-sets.service").read_text()
    program = stand_ins / "mount-s3"
    assert f"ExecStart={program} --allow-other --read-only --prefix sets/ my-data /mnt/sets\n" in sets
    out = (units / "smtrain-mount-out.service").read_text()
    assert f"ExecStart={program} --allow-other --allow-delete --allow-overwrite my-results /mnt/out\n" in out
    assert "systemctl enable smtrain-mount-sets.service" in calls
    assert "systemctl restart smtrain-mount-out.service" in calls


def test_a_bucket_that_cannot_be_mounted_fails_the_node(base, tmp_path):
    script = files(options(base, MOUNTS))["smtrain_mount_s3.sh"]
    (tmp_path / "units").mkdir()
    refuses = "[[ $1 != restart ]]"
    stand_ins = programs(tmp_path / "bin", mount_s3="true", systemctl=refuses, umount="true", mkdir="true")
    done, _ = bash(script, tmp_path, stand_ins, SMTRAIN_SYSTEMD_UNITS=str(tmp_path / "units"))
    assert done.returncode == 1
    assert "mounted" not in done.stdout


@pytest.mark.parametrize(("manager", "package"), [("apt-get", "mount-s3.deb"), ("yum", "mount-s3.rpm")])
def test_mountpoint_is_installed_where_it_is_lacking(manager, package, base, tmp_path):
    script = files(options(base, MOUNTS))["smtrain_mount_s3.sh"]
    (tmp_path / "units").mkdir()
    folder = tmp_path / "bin"
    # Whoever installs it brings the program.
    brings = f'printf "#!/bin/bash\\n" >{folder}/mount-s3; chmod +x {folder}/mount-s3'
    programs(folder, curl="true", systemctl="true", umount="true", uname="echo aarch64", **{manager: brings})
    for name in ("bash", "mktemp", "rm", "mkdir", "cat", "chmod"):
        (folder / name).symlink_to(f"/bin/{name}")
    calls = tmp_path / "calls"
    environment = {"PATH": str(folder), "CALLS": str(calls), "SMTRAIN_SYSTEMD_UNITS": str(tmp_path / "units")}
    text = script.replace(" /mnt/", f" {tmp_path}/mnt/")
    done = subprocess.run(("/bin/bash", "-s"), input=text, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = calls.read_text()
    assert f"latest/arm64/{package}" in found
    assert f"{manager} install -y" in found
