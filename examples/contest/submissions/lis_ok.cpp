#include <algorithm>
#include <iostream>
#include <vector>
int main() {
  std::ios::sync_with_stdio(false);
  int n, x;
  std::cin >> n;
  std::vector<int> tails;
  while (n-- && std::cin >> x) {
    auto at = std::lower_bound(tails.begin(), tails.end(), x);
    if (at == tails.end()) tails.push_back(x);
    else *at = x;
  }
  std::cout << tails.size() << "\n";
}
