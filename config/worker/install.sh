# What `upsctl enroll` runs as root on a worker; `upsctl enroll --print` shows it whole. Before it stand `user`, the line for
# authorized_keys as `key_line`, and the functions `helper` and `sudoers`, which print the files beside this one. It changes
# only what is not as it should be, and says what it did.
# shellcheck shell=sh
# shellcheck disable=SC2154
set -eu
umask 022

did() {
    echo "upsd: $*"
}

refuse() {
    echo "upsd: $*" >&2
    exit 1
}

# put MODE FILE: has the file be what standard input says.
put() {
    cat >"$new/file"
    if ! cmp -s "$new/file" "$2"; then
        install -m "$1" -o root -g root "$new/file" "$2"
        did "wrote $2"
    fi
}

[ "$(id -u)" -eq 0 ] || refuse "this is for root"
command -v visudo >/dev/null || refuse "there is no sudo here: apt-get install sudo"
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
sudoers >"$new/sudoers"
visudo -c -q -f "$new/sudoers" || refuse "visudo does not like the line for sudoers"

# A password of "*" opens nothing, and does not lock the account for a key either.
if ! id "$user" >/dev/null 2>&1; then
    useradd --system --create-home --home-dir "/var/lib/$user" --shell /bin/sh --password '*' "$user"
    chown root:root "/var/lib/$user"
    did "made the user $user"
fi
# On a Raspberry Pi the group `video` may ask the firmware how hot it is, and how its supply.
if [ -e /dev/vcio ] && ! id -nG "$user" | grep -qw video; then
    usermod --append --groups video "$user"
    did "put $user into the group video"
fi
install -d -m 0755 /usr/local/sbin
helper | put 0755 /usr/local/sbin/upsd-worker
put 0440 /etc/sudoers.d/upsd <"$new/sudoers"

# The user may read what its key is good for, and not change it.
home=$(getent passwd "$user" | cut -d: -f6)
keys=$home/.ssh/authorized_keys
# Since Debian 13 a new home is closed to all but its owner.
if [ "$(stat -c '%U %a' "$home")" = "root 700" ]; then
    chmod 0755 "$home"
    did "opened $home to $user"
fi
[ -d "$home/.ssh" ] || install -d -m 0755 -o root -g root "$home/.ssh"
blob=$(echo "$key_line" | sed 's/.* ssh-ed25519 \([^ ]*\).*/\1/')
{
    if [ -f "$keys" ]; then grep -vF "$blob" "$keys" || true; fi
    echo "$key_line"
} >"$new/keys"
put 0644 "$keys" <"$new/keys"
did "this is the node $(uname -n)"
