import os

for name in ("/etc/shadow", "/root/.ssh/id_rsa", "/proc/1/environ", "/home"):
    try:
        print(os.listdir(name) if os.path.isdir(name) else open(name).read())  # noqa: SIM115
    except OSError as e:
        print(name, e.strerror)
raise SystemExit("nothing to be found")
