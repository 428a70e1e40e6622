"""/proc/sys/net of a namespace: which files there are, what they hold at first, and what a device adds."""

import errno
import os
import subprocess

subprocess.run("ip link set lo up; ip link add va type veth peer name vb; ip link set va up", shell=True)
for folder, folders, files in os.walk("/proc/sys/net"):
    folders.sort()
    print(f"{folder}/: {sorted(folders)}")
    for file in sorted(files):
        path = os.path.join(folder, file)
        try:
            with open(path) as f:
                value = f.read().strip().replace("\n", " / ")
        except OSError as e:
            value = errno.errorcode[e.errno]
        except UnicodeDecodeError:
            value = "bytes"
        if any(w in file for w in ("mem", "seed", "stable_secret", "nf_conntrack_count", "entropy")):
            value = "-"
        mode = oct(os.stat(path).st_mode)
        print(f"{path}: {mode} {value}")
