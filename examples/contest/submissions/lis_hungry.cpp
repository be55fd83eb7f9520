#include <iostream>
#include <vector>
int main() {
  int n;
  std::cin >> n;
  std::vector<std::vector<int>> table(60000, std::vector<int>(60000, 1)); // O(n^2) memory
  std::cout << table[n - 1][n - 1] << "\n";
}
