n = int(input())
grid = [input() for _ in range(n)]


def walk(y, x, seen):
    return min([1 + walk(y + 1, x, seen), 1 + walk(y, x + 1, seen)])


print(walk(0, 0, set()))
