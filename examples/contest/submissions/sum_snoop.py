import os

for name in ("/etc/shadow", "/root/.ssh/id_rsa", "/proc/1/environ", "/home"):
    try:
        print(open(name).read() if not os.path.isdir(name) else os.listdir(name))
    except OSError as e:
        print(name, e.strerror)
raise SystemExit("nothing to be found")
