#!/bin/sh
# Puts the real promtool and Alertmanager into build/prometheus, from the packages of Debian or Ubuntu, for the tests that want them.
# No root, POSIX sh; a second run is a no-op. Then:
#   SKEIN_PROMTOOL=$PWD/build/prometheus/promtool SKEIN_ALERTMANAGER=$PWD/build/prometheus/alertmanager go test ./alert/... ./notify
set -eu
dest=$PWD/build/prometheus
[ -x "$dest/alertmanager" ] && exit 0
mkdir -p "$dest"
cd "$dest"
apt-get download prometheus prometheus-alertmanager
for package in prometheus*.deb; do
	dpkg -x "$package" root
	rm "$package"
done
rm -rf root/etc root/lib root/usr/share/doc # examples in Go would count as packages of ours
ln -sf root/usr/bin/promtool promtool
# The package's Alertmanager reads its templates below /usr/share: show it ours there, in a namespace of its own.
cat > alertmanager <<END
#!/bin/sh
exec unshare -rm sh -c 'mount --bind "$dest/root/usr/share" /usr/share && exec "$dest/root/usr/bin/prometheus-alertmanager" "\$@"' alertmanager "\$@"
END
chmod +x alertmanager
"$dest/promtool" --version
