#include <iostream>
int main() {
  int n, *tails = nullptr;
  std::cin >> n;
  tails[n] = 1;
  std::cout << tails[0] << "\n";
}
