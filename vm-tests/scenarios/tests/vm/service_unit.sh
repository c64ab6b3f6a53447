# Installs the trust service as the head of its unit says, and tells how it fares under this machine's systemd.
set -eu
cd /run/second
export HOME=/tmp
unit=ccnode-trust.service
cp "$unit" /etc/systemd/system/
cp ccnode-trust /usr/bin/
useradd --system --home-dir /var/lib/ccnode-trust --shell /usr/sbin/nologin ccnode-trust
ccnode-trust init /var/lib/ccnode-trust --name localhost --listen 0.0.0.0:443 --admin-listen 127.0.0.1:8444 >/dev/null
chown -R ccnode-trust: /var/lib/ccnode-trust
systemctl daemon-reload
systemctl enable --quiet --now ccnode-trust

# What /readyz answers over TLS to whoever trusts the service's CA; none while nobody listens.
ask() { kubectl --token=none --server=https://localhost "$@" get --raw /readyz 2>/tmp/why; }
ready() { ask --certificate-authority=/var/lib/ccnode-trust/tls/ca.pem; }
fares() {
  tries=0
  until answer=$(ready); do
    tries=$((tries + 1))
    [ $tries -lt 20 ] || { cat /tmp/why; break; }
    sleep 0.5
  done
  echo "$1: is-active: $(systemctl is-active $unit)"
  echo "$1: readyz: $answer"
}
fares started
pid=$(systemctl show --property=MainPID --value $unit)
grep -E '^(Uid|CapEff|NoNewPrivs|Seccomp):' "/proc/$pid/status" | tr -s '\t' ' ' | sed 's/^/process: /'
ask >/dev/null && echo 'stranger: trusted'
echo "stranger: $(cat /tmp/why)"
systemctl reload $unit || journalctl --no-pager -n 20 -u $unit
fares reloaded
echo "reloaded: same process: $([ "$pid" = "$(systemctl show --property=MainPID --value $unit)" ] && echo yes)"
kill -s KILL "$pid"
# As RestartSec says, and what it takes to start.
sleep 3
fares killed
systemctl stop $unit
echo "stopped: is-active: $(systemctl is-active $unit || true) $(systemctl show --property=Result --value $unit)"
systemd-analyze security --no-pager --threshold=20 $unit >/tmp/security && echo 'security: within'
echo "security: $(tail -n 1 /tmp/security)"
