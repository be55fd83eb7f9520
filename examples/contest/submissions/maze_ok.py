from collections import deque

n = int(input())
grid = [input() for _ in range(n)]
seen = {(0, 0): 0}
todo = deque([(0, 0)])
while todo:
    y, x = todo.popleft()
    for v, u in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
        if 0 <= v < n and 0 <= u < n and grid[v][u] == "." and (v, u) not in seen:
            seen[v, u] = seen[y, x] + 1
            todo.append((v, u))
print(seen.get((n - 1, n - 1), -1))
