#!/bin/sh
# Install cpa as a systemd service of the current user. CPA names the command to run.
set -eu
: "${CPA:?set CPA to the path of the cpa command}"
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
config="${XDG_CONFIG_HOME:-$HOME/.config}"
umask 077
mkdir -p "$config/cpa" "$config/systemd/user"
if [ ! -e "$config/cpa/config.yaml" ]; then
    "$CPA" init --config "$config/cpa/config.yaml"
fi
sed "s|^ExecStart=.*|ExecStart=$CPA serve --config $config/cpa/config.yaml|" \
    "$here/user/cpa.service" > "$config/systemd/user/cpa.service"
if command -v systemctl > /dev/null 2>&1 && systemctl --user daemon-reload 2> /dev/null; then
    systemctl --user enable --now cpa.service
    echo "cpa runs now. Logs: journalctl --user -u cpa -f"
    echo "To keep it running after you log out: loginctl enable-linger $(id -un)"
else
    echo "wrote $config/systemd/user/cpa.service; no systemd user session here, start it later with"
    echo "  systemctl --user enable --now cpa.service"
fi
