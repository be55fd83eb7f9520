#include <iostream>
#include <queue>
#include <string>
#include <vector>
int main() {
  int n;
  std::cin >> n;
  std::vector<std::string> grid(n);
  for (auto &row : grid) std::cin >> row;
  std::vector<std::vector<int>> steps(n, std::vector<int>(n, -1));
  std::queue<std::pair<int, int>> todo;
  todo.push({0, 0});
  steps[0][0] = 0;
  while (!todo.empty()) {
    auto [y, x] = todo.front();
    todo.pop();
    const int dy[] = {1, -1, 0, 0}, dx[] = {0, 0, 1, -1};
    for (int k = 0; k < 4; k++) {
      int v = y + dy[k], u = x + dx[k];
      if (v < 0 || u < 0 || v >= n || u >= n || grid[v][u] == '#' || steps[v][u] >= 0) continue;
      steps[v][u] = steps[y][x] + 1;
      todo.push({v, u});
    }
  }
  std::cout << steps[n - 1][n - 1] << "\n";
}
