# Runs inside `pernet run`: each command is shown, then run.  `ip` is the machine's own.
set -eu
say() { printf '\n# %s\n' "$*"; }
show() {
    printf '$ %s\n' "$*"
    eval "$@"
}

say "No privilege is needed, and no namespace of the kernel is made:"
show id -un
show ip -br link

say "Named namespaces, ids, and commands inside:"
show ip netns add blue
show ip netns add red
show ip netns set blue 7
show ip netns list-id
show ip netns exec blue ip -br link
show ip netns exec red ip netns identify

say "Any program sees it so, and every door is open:"
show nsenter --net=/run/netns/red ip netns identify
show unshare -n readlink /proc/self/ns/net
show cat /proc/net/dev

say "The names go, and so do the ids:"
show ip -all netns delete
show ip netns list-id
say "That was it. Now yours: pernet run -- bash"
